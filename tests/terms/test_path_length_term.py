"""Path length regularisation of generators whose Jacobian is known."""

import math

import pytest
import torch
from torch import nn

from gan_lightning.build import build_module, build_task
from gan_lightning.errors import ConfigError
from gan_lightning.networks import stylegan2
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.path_length import PathLength, path_lengths

LAYERS, W_DIM, SHAPE = 3, 4, (2, 2, 2)


class Linear(nn.Module):
    """image = scale * sum over layers of matrix[l] @ w[l]."""

    num_ws = LAYERS

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix
        self.scale, self.one = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def mapping(self, z, cond=None):
        return z * self.one

    def synthesis(self, ws):
        images = torch.einsum("lpd,nld->np", self.matrix.to(ws.dtype), ws) * self.scale
        return images.unflatten(1, SHAPE)


def step_of(g, n=6, dtype=torch.float32):
    return Step(None, g, None, None, None, None, None, Clock(0, 0), {}, z=torch.randn(n, W_DIM, dtype=dtype))


def test_lengths_are_those_of_the_transposed_jacobian():
    matrix = torch.randn(LAYERS, 8, W_DIM)
    z = torch.randn(5, W_DIM)
    torch.manual_seed(3)
    lengths = path_lengths(Linear(matrix), z, None)
    torch.manual_seed(3)
    y = torch.randn(5, *SHAPE).flatten(1) / math.sqrt(4)
    expected = [sum((matrix[layer].T @ row).square().sum() for layer in range(LAYERS)) / LAYERS for row in y]
    torch.testing.assert_close(lengths, torch.stack(expected).sqrt())


def test_expected_value_of_one_pixel():
    """Only one pixel depends on w, by A: a length is |y| |A| / sqrt(H W) with y normal, of known first two moments."""
    matrix = torch.zeros(LAYERS, 8, W_DIM)
    matrix[:, 0] = torch.tensor([1.0, 2.0, 4.0, 2.0])    # |A| = 5 in every layer
    term = PathLength(batch_shrink=1, decay=0.5)
    value = term(step_of(Linear(matrix), n=100_000)).item()
    first, second = 5 * math.sqrt(2 / math.pi) / 2, 25 / 4
    a = 0.5 * first
    assert term.mean.item() == pytest.approx(a, rel=0.02)
    assert value == pytest.approx(second - 2 * a * first + a**2, rel=0.02)


def test_gradient_takes_the_running_mean_as_given():
    g = Linear(torch.randn(LAYERS, 8, W_DIM))
    term = PathLength(batch_shrink=1, decay=0.25)
    step = step_of(g)
    torch.manual_seed(3)
    lengths = path_lengths(g, step.z, None).detach()
    torch.manual_seed(3)
    value = term(step)
    a = 0.25 * lengths.mean()
    assert value.item() == pytest.approx((lengths - a).square().mean().item(), rel=1e-4)
    value.backward()
    assert g.scale.grad.item() == pytest.approx((2 * (lengths - a) * lengths).mean().item(), rel=1e-4)


def test_running_mean_is_updated_kept_and_used():
    g, term = Linear(torch.randn(LAYERS, 8, W_DIM)), PathLength()
    expected = 0.0
    for seed in range(3):
        step = step_of(g)
        torch.manual_seed(seed)
        lengths = path_lengths(g, step.z[:3], None).detach()    # batch_shrink=2: half of 6
        torch.manual_seed(seed)
        value = term(step).item()
        expected = 0.99 * expected + 0.01 * lengths.mean().item()
        assert term.mean.item() == pytest.approx(expected, rel=1e-4)
        assert value == pytest.approx((lengths - expected).square().mean().item(), rel=1e-4)
    assert list(term.state_dict()) == ["mean"]
    again = PathLength()
    again.load_state_dict(term.state_dict())
    assert again.mean.item() == term.mean.item() != 0


def test_backward_of_a_value_survives_the_next_update():
    g, term = Linear(torch.randn(LAYERS, 8, W_DIM)), PathLength()
    first = term(step_of(g))
    second = term(step_of(g))
    (first + second).backward()
    assert g.scale.grad.isfinite()


@pytest.mark.parametrize("num_classes", [0, 3])
def test_of_stylegan2_is_differentiated_as_a_finite_difference_says(num_classes):
    g = stylegan2.Generator(8, 1, num_classes, z_dim=W_DIM, w_dim=6, mapping_layers=1, channel_max=4).double()
    cond = torch.arange(6) % 3 if num_classes else None
    step = step_of(g, dtype=torch.float64)._replace(cond=cond)
    weights = [p for p in g.parameters() if p.shape != (1,)]    # not noise strengths: noise is drawn anew
    direction = [torch.randn_like(p) for p in weights]

    def penalty():
        torch.manual_seed(0)
        return PathLength(decay=1e-12).double()(step)    # a stays at zero

    gradients = torch.autograd.grad(penalty(), weights, allow_unused=True)
    slope = sum((a * b).sum() for a, b in zip(gradients, direction, strict=True) if a is not None).item()

    def moved(by):
        with torch.no_grad():
            for p, towards in zip(weights, direction, strict=True):
                p.add_(towards, alpha=by)
        return penalty().item()

    h = 1e-7
    assert slope != 0 and slope == pytest.approx((moved(h) - moved(-2 * h)) / (2 * h), rel=1e-4)


def test_float32_under_autocast():
    g, term = Linear(torch.randn(LAYERS, 8, W_DIM)), PathLength()
    step = step_of(g)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        inside = term(step)
    again = PathLength()
    torch.manual_seed(0)
    assert inside.dtype == torch.float32 and torch.equal(inside, again(step))


STYLEGAN2 = ["model=stylegan2", "model.conditional=true", "model.channel_max=8", "model.w_dim=16", "model.z_dim=16",
             "model.mapping_layers=2", "term=[path_length,r1]"]


def test_in_a_game(config):
    module = build_module(config("data=digits", *STYLEGAN2, "loss.g_terms.path_length.every=2"))
    task = module.task
    batch = {"real": torch.rand(8, 1, 8, 8), "label": torch.randint(10, (8,))}
    for at in range(3):
        losses = task.g_loss(batch, Clock(at, 0, 8))
        assert ("path_length" in losses) == (at != 1)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in task.g.parameters())
    assert any(name.endswith("g_path_length.mean") for name in module.state_dict())


def test_other_generators_are_refused(config):
    with pytest.raises(ConfigError, match="loss.g_terms.path_length: .* choose model=stylegan2"):
        build_task(config("model=dcgan", "term=[path_length]"))


@pytest.mark.parametrize("settings", [{"decay": 0.0}, {"batch_shrink": 0}])
def test_refused_settings(settings):
    with pytest.raises(ConfigError, match=f"loss.g_terms.path_length.{next(iter(settings))}="):
        PathLength(**settings)
