"""Minibatch discrimination against loops over pairs."""

import pytest
import torch

from gan_lightning.build import build_task
from gan_lightning.errors import ConfigError
from gan_lightning.networks import dcgan, mlp
from gan_lightning.networks.minibatch import MinibatchDiscrimination
from gan_lightning.tasks.base import Clock


def closeness(layer, features):
    """Equation by equation, one pair of samples at a time; T is (F, B, C)."""
    t = layer.project.weight.detach().T.reshape(features.shape[1], layer.kernels, layer.depth)
    m = torch.einsum("nf,fbc->nbc", features, t)
    out = torch.zeros(len(features), layer.kernels, dtype=features.dtype)
    for i in range(len(features)):
        for j in range(len(features)):
            for b in range(layer.kernels):
                out[i, b] += torch.exp(-sum(abs(m[i, b, c] - m[j, b, c]) for c in range(layer.depth)))
    return out


def test_closeness_to_every_other_sample():
    layer, features = MinibatchDiscrimination(3, kernels=4, depth=2).double(), torch.randn(5, 3, dtype=torch.float64)
    found = layer(features)
    assert found.shape == (5, 7) and layer.out_features == 7
    assert torch.equal(found[:, :3], features)
    assert torch.allclose(found[:, 3:], closeness(layer, features), atol=1e-12)


def test_equal_samples_are_as_close_as_can_be():
    layer = MinibatchDiscrimination(3, kernels=4, depth=2)
    assert torch.allclose(layer(torch.ones(6, 3))[:, 3:], torch.tensor(6.0))
    far = 1e4 * torch.randn(6, 3)
    assert torch.allclose(layer(far)[:, 3:], torch.tensor(1.0))  # each is close to itself


def test_differentiable_twice():
    layer = MinibatchDiscrimination(3, kernels=2, depth=2).double()
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, features)
    assert torch.autograd.gradgradcheck(layer, features)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("option", ["model=dcgan model.width=8 model.minibatch=discrimination loss=wgan_gp",
                                    "model=mlp model.minibatch=discrimination loss=ragan",
                                    "model=dcgan model.width=8 model.g_norm=virtual loss=hinge"])
def test_every_weight_of_both_players_learns(config, option, conditional):
    task = build_task(config(*option.split(), f"model.conditional={conditional}"))
    batch = {"real": torch.randn(8, 1, 8, 8), "label": torch.arange(8)}
    for network, loss in ((task.d, task.d_loss), (task.g, task.g_loss)):
        sum(loss(batch, Clock(0, 0)).values()).backward()
        for name, weight in network.named_parameters():
            assert weight.grad.isfinite().all() and (weight.grad.abs().max() > 0 or name == "last.bias"), name
        task.zero_grad()


@pytest.mark.parametrize("make", [lambda kind: dcgan.Discriminator(8, 1, width=4, norm="none", minibatch=kind),
                                  lambda kind: mlp.Discriminator(8, 1, minibatch=kind)])
def test_a_sample_is_scored_in_company_only_where_asked(make):
    x = torch.randn(4, 1, 8, 8)
    for kind, extra in (("none", 0), ("discrimination", 32)):
        d = make(kind)
        logits, features = d(x, return_features=True)
        assert features.shape[1] == d.num_features == d.last.in_features == make("none").num_features + extra
        alone = torch.cat([d(one[None]) for one in x])
        assert torch.allclose(alone, logits, atol=1e-6) == (kind == "none")
    with pytest.raises(ConfigError, match="model.minibatch=discriminaton: .*did you mean discrimination"):
        make("discriminaton")
