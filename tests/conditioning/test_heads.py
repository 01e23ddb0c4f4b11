"""Each head's loss against the formula of its paper, written out sample by sample."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gan_lightning.build import build_task
from gan_lightning.conditioning.base import Conditioned
from gan_lightning.conditioning.classifiers import (
    AuxiliaryClassifier,
    MultiHinge,
    TwinAuxiliaryClassifier,
    crammer_singer,
)
from gan_lightning.conditioning.codes import Codes
from gan_lightning.conditioning.contrastive import ConditionalContrast, DataToDataCrossEntropy
from gan_lightning.conditioning.infogan import CodeReader
from gan_lightning.conditioning.projection import ProjectionHead
from gan_lightning.errors import ConfigError
from gan_lightning.networks.mlp import Discriminator
from gan_lightning.tasks.base import Clock, Step

N, F, K = 6, 5, 3
LABEL = torch.tensor([0, 1, 2, 0, 1, 1])


@pytest.fixture(autouse=True)
def _double(float64):
    """All of this file."""


def step(head, z=None, label=LABEL) -> Step:
    x = torch.zeros(N, 1)
    return Step(None, head, x, x, None, x, label, Clock(0, 0), {}, torch.randn(N, F), torch.randn(N, F), head, z)


def log_softmax(row, k) -> float:
    return row[k] - math.log(sum(math.exp(value) for value in row))


def cross_entropy(layer, features, label=LABEL) -> float:
    rows = (features @ layer.weight.T + layer.bias).tolist()
    return -sum(log_softmax(row, k) for row, k in zip(rows, label.tolist(), strict=True)) / len(rows)


@pytest.mark.parametrize("on_fakes", [True, False])
def test_auxiliary_classifier(on_fakes):
    head = AuxiliaryClassifier(F, K, on_fakes)
    at = step(head)
    real, fake = (cross_entropy(head.classify, features) for features in (at.real_features, at.fake_features))
    assert head.d_loss(at).item() == pytest.approx(real + on_fakes * fake)
    assert head.g_loss(at).item() == pytest.approx(fake)


def test_the_twin_is_of_fakes_alone_and_g_works_against_it():
    head = TwinAuxiliaryClassifier(F, K)
    at = step(head)
    twin = cross_entropy(head.twin, at.fake_features)
    assert head.d_loss(at).item() == pytest.approx(cross_entropy(head.classify, at.real_features) + twin)
    assert head.g_loss(at).item() == pytest.approx(cross_entropy(head.classify, at.fake_features) - twin)


def test_the_margin_of_crammer_and_singer():
    scores = torch.tensor([[2.0, 0.5, 0.0], [2.0, 0.5, 0.0], [0.0, 0.2, 0.1]])
    # leads by 1.5: nothing; behind by 1.5: 2.5; leads by 0.1: 0.9
    assert crammer_singer(scores, torch.tensor([0, 1, 1])).item() == pytest.approx((0 + 2.5 + 0.9) / 3)


def test_multi_hinge_has_a_class_of_fakes():
    head = MultiHinge(F, K)
    at = step(head)
    real, fake = head.score(at.real_features), head.score(at.fake_features)
    assert real.shape == (N, K + 1)
    expected = crammer_singer(real, LABEL) + crammer_singer(fake, torch.full((N,), K))
    assert head.d_loss(at).item() == pytest.approx(expected.item())
    assert head.g_loss(at).item() == pytest.approx(crammer_singer(fake, LABEL).item())


def cosines(head, features):
    embedded = [head.embed(row) / head.embed(row).norm() for row in features]
    proxies = [head.proxy.weight[k] / head.proxy.weight[k].norm() for k in LABEL]
    return ([(a @ b).item() for a, b in zip(embedded, proxies, strict=True)],
            [[(a @ b).item() for b in embedded] for a in embedded])


def test_conditional_contrast():
    head = ConditionalContrast(F, K, embed_dim=4, temperature=0.7)
    at = step(head)
    own, others = cosines(head, at.real_features)
    total = 0.0
    for i in range(N):
        near = far = math.exp(own[i] / 0.7)
        for k in range(N):
            if k != i:
                far += math.exp(others[i][k] / 0.7)
                near += math.exp(others[i][k] / 0.7) * (LABEL[k] == LABEL[i]).item()
        total -= math.log(near / far)
    assert head.d_loss(at).item() == pytest.approx(total / N)
    assert head.g_loss(at).item() != pytest.approx(total / N)


def test_data_to_data_cross_entropy():
    head = DataToDataCrossEntropy(F, K, embed_dim=4, temperature=0.5, margin=0.3)
    at = step(head)
    own, others = cosines(head, at.fake_features)
    total = 0.0
    for i in range(N):
        easy = math.exp(min(own[i] - 0.3, 0) / 0.5)
        hard = sum(math.exp(max(others[i][k] - 0.7, 0) / 0.5) for k in range(N) if LABEL[k] != LABEL[i])
        total -= math.log(easy / (easy + hard))
    assert head.g_loss(at).item() == pytest.approx(total / N)


@pytest.mark.parametrize("kind", [ConditionalContrast, DataToDataCrossEntropy])
@pytest.mark.parametrize("num_classes, embed_dim", [(10, 512), (7, 7), (40, 8)])
def test_classes_begin_with_length_1_and_far_from_each_other(kind, num_classes, embed_dim):
    """A step of Adam has one length: longer vectors, whose length is divided away, would turn more slowly."""
    proxy = kind(F, num_classes, embed_dim=embed_dim).proxy.weight
    torch.testing.assert_close(proxy.norm(dim=1), torch.ones(num_classes))
    if num_classes <= embed_dim:
        torch.testing.assert_close(proxy @ proxy.T, torch.eye(num_classes))
    else:    # a frame: as evenly spread as vectors can be, but for their lengths
        assert torch.linalg.cond(proxy) < 2


@pytest.mark.parametrize("kind", [ConditionalContrast, DataToDataCrossEntropy])
def test_adam_turns_a_class_by_its_learning_rate(kind):
    """lr sqrt(dimensions) is how far a step of Adam goes: of a vector of length 1, that is the angle."""
    head = kind(F, K, embed_dim=512)
    before = head.proxy.weight.detach().clone()
    optimizer = torch.optim.Adam([head.proxy.weight], 2e-4)
    head.d_loss(step(head)).backward()
    optimizer.step()
    cosine = nn.functional.cosine_similarity(before, head.proxy.weight.detach())
    assert torch.allclose(cosine.acos(), torch.tensor(2e-4 * math.sqrt(512)), rtol=0.05)


@pytest.mark.parametrize("head", [ConditionalContrast(F, K), DataToDataCrossEntropy(F, K)])
def test_a_class_of_its_own_has_finite_gradients(head):
    head = head.double()
    at = step(head, label=torch.tensor([0, 0, 0, 0, 0, 0]))  # nobody to keep away from
    head.d_loss(at).backward()
    assert all(weight.grad.isfinite().all() for weight in head.parameters())


def test_codes_are_uniform_and_the_rest_of_z_is_noise():
    codes = Codes([4, 2], 2)
    z = torch.randn(20_000, 12)
    fed = codes(z)
    assert fed.shape == z.shape and torch.equal(fed[:, 8:], z[:, 8:])
    for part, value, k in ((fed[:, :4], codes.classes(z)[0], 4), (fed[:, 4:6], codes.classes(z)[1], 2)):
        assert torch.equal(part.argmax(1), value) and torch.equal(part.sum(1), torch.ones(len(z)))
        assert torch.bincount(value, minlength=k).div(len(z)).sub(1 / k).abs().max() < 0.015
    for column in fed[:, 6:8].T:
        assert column.abs().max() <= 1
        quantiles = torch.quantile(column, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]))
        torch.testing.assert_close(quantiles, torch.tensor([-0.8, -0.5, 0.0, 0.5, 0.8]), atol=0.03, rtol=0)


@pytest.mark.parametrize("categorical, continuous", [([1], 2), ([], 0), ([3], -1)])
def test_impossible_codes(categorical, continuous):
    with pytest.raises(ConfigError, match="task.codes"):
        Codes(categorical, continuous)


def test_code_reader():
    head = CodeReader(F, [2, 3], 2, hidden=7, continuous_weight=0.4)
    z = torch.randn(N, 9)
    at = step(head, z)
    read = head.read(at.fake_features)
    expected = 0.0
    for i in range(N):
        expected -= log_softmax(read[i, :2].tolist(), z[i, :2].argmax().item())
        expected -= log_softmax(read[i, 2:5].tolist(), z[i, 2:5].argmax().item())
        expected += 0.4 * sum((read[i, 5 + k].item() - math.erf(z[i, 5 + k].item() / math.sqrt(2))) ** 2 / 2 for k in (0, 1))
    assert head.d_loss(at).item() == head.g_loss(at).item() == pytest.approx(expected / N)


def test_by_default_all_codes_weigh_as_in_the_bound():
    """-log Q of all codes together, as torch.distributions has it, up to the normal density's constant."""
    head, z = CodeReader(F, [4], 2), torch.randn(N, 9)
    at = step(head, z)
    read, codes = head.read(at.fake_features), Codes([4], 2)
    log_q = torch.distributions.Categorical(logits=read[:, :4]).log_prob(codes.classes(z)[0])
    log_q = log_q + torch.distributions.Normal(read[:, 4:], 1.0).log_prob(codes.values(z)).sum(1)
    assert head.d_loss(at).item() == pytest.approx(-log_q.mean().item() - math.log(2 * math.pi))


@pytest.mark.parametrize("choice", ["conditioning=infogan", "experiment=mnist_infogan"])
def test_continuous_codes_weigh_as_much_as_the_others(config, choice):
    assert config(choice).model.head.continuous_weight == 1.0


def test_the_information_reaches_g(config):
    task = build_task(config("model=mlp", "conditioning=infogan")).float()
    batch = {"real": torch.rand(8, 1, 8, 8, dtype=torch.float32) * 2 - 1, "label": torch.zeros(8, dtype=torch.long)}
    torch.set_default_dtype(torch.float32)
    task.g_loss(batch, Clock(0, 0))["code"].backward()
    assert all(weight.grad.abs().max() > 0 for weight in task.g.parameters())


def test_projection_is_added_to_the_logit():
    backbone = Discriminator(8, 1)
    d = Conditioned(backbone, lambda num_features: ProjectionHead(num_features, K))
    x = torch.randn(N, 1, 8, 8)
    logits, features = d(x, LABEL, return_features=True)
    expected = backbone(x) + (d.head.projection.embed.weight[LABEL] * features).sum(1, keepdim=True)
    assert torch.equal(logits, expected) and torch.equal(d(x, LABEL), logits)


@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_a_head_has_spectral_norm_where_its_backbone_has(norm):
    d = Conditioned(Discriminator(8, 1, norm=norm), lambda num_features: AuxiliaryClassifier(num_features, K))
    assert is_parametrized(d.head.classify) == (norm == "spectral")


@pytest.mark.parametrize("settings, message", [
    (["conditioning=acgan", "data=gaussians_ring", "model=toy2d"], "G takes no labels, and D is told those of 8"),
    (["conditioning=acgan", "model.conditional=false"], "G takes no labels, and D is told those of 10"),
    (["conditioning=acgan", "model.discriminator.num_classes=10"], "must be 0 beside model.head"),
    (["conditioning=infogan", "model.z_dim=11"], "model.z_dim=11: task.codes take 12"),
    (["conditioning=contragan", "model.head.temperature=0"], "temperature=0"),
    (["conditioning=acgan", "model.head=null"], "needs a discriminator with a head"),
    (["conditioning=acgan", "loss.d_terms.label.player=g"], "HeadLoss with player=g must be among loss.g_terms"),
    (["conditioning=infogan", "task.latent=uniform"], "task.codes are made of normal latents"),
    (["conditioning=infogan", "model.conditional=true"], "D is told no labels"),
    (["conditioning=reacgan", "model.head.embed_dim=0"], "embed_dim=0"),
])
def test_refused(config, settings, message):
    torch.set_default_dtype(torch.float32)
    with pytest.raises(Exception) as error:
        build_task(config("model=mlp", *settings))
    cause = error.value if isinstance(error.value, ConfigError) else error.value.__cause__
    assert isinstance(cause, ConfigError) and message in str(cause)


@pytest.mark.parametrize("nimg", [0, 1500, 5000])
def test_a_growing_discriminator_beneath_a_head_is_shown_what_it_is_ready_for(config, nimg):
    torch.set_default_dtype(torch.float32)
    task = build_task(config("model=progan", "model.width=0.03", "data.resolution=16", "model.kimg_per_stage=1",
                             "model.kimg_fade=1", "conditioning=acgan", "loss=wgan_gp", "augment=apa"))
    batch = {"real": torch.rand(4, 1, 16, 16) * 2 - 1, "label": torch.arange(4)}
    losses = task.d_loss(batch, Clock(0, nimg))
    assert all(loss.isfinite() for loss in losses.values())
    assert torch.equal(task._real(batch), task.d.backbone.prepare_real(batch["real"]))
    assert task._real(batch).shape[-1] == {0: 4, 1500: 8, 5000: 16}[nimg]


@pytest.mark.parametrize("head", ["projection", "acgan", "tac", "multi_hinge", "contragan", "reacgan", "infogan"])
@pytest.mark.parametrize("name", ["d", "g"])
def test_every_head_has_a_loss_or_a_logit(config, head, name):
    torch.set_default_dtype(torch.float32)
    task = build_task(config("model=mlp", f"conditioning={head}"))
    names = list(task.objective.d_terms if name == "d" else task.objective.g_terms)
    assert names == {"projection": [], "infogan": ["code"]}.get(head, ["label"])
    assert isinstance(task.d.backbone, nn.Module)
