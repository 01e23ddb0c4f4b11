"""Penalties against closed forms, per sample."""

import pytest
import torch

from gan_lightning.config.check import check
from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.gradient import (
    DRAGAN,
    R1,
    R2,
    GradientPenalty,
    MaxGP,
    WGANDiv,
    ZeroCenteredGP,
    joint_spread,
    squared_gradient_norm,
)

SLOPE = torch.tensor([3.0, 4.0])  # D(x) = <SLOPE, x>, so ||grad D|| = 5 everywhere


def made_step(critic, real, fake, reuse=True):
    real, fake = real.clone(), fake.clone()
    if reuse:
        real.requires_grad_()
        fake.requires_grad_()
    return Step(critic, None, real, fake, critic(real), critic(fake), None, Clock(0, 0), {})


def linear(x, cond=None):
    return (x.flatten(1) @ SLOPE.to(x))[:, None]


def quadratic(x, cond=None):
    return x.flatten(1).square().sum(1, keepdim=True) / 2  # grad D(x) = x


def points(n=6):
    return torch.randn(n, 2)


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("term, expected", [
    (GradientPenalty(), 16.0), (GradientPenalty(one_sided=True), 16.0), (DRAGAN(), 16.0), (R1(), 12.5), (R2(), 12.5),
    (ZeroCenteredGP(), 25.0), (WGANDiv(), 5.0**6), (WGANDiv(power=3.0), 125.0), (MaxGP(), 25.0),
])
def test_linear_critic(term, expected, reuse):
    assert term(made_step(linear, points(), points(), reuse)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("term, expected", [(GradientPenalty(), 0.81), (GradientPenalty(one_sided=True), 0.0)])
def test_one_sided_spares_small_gradients(term, expected):
    small = made_step(lambda x, cond=None: 0.1 * x[:, :1], points(), points())  # norm 0.1
    assert term(small).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("reuse", [True, False])
def test_quadratic_critic(reuse):
    real, fake = points(), points()
    step = made_step(quadratic, real, fake, reuse)
    assert R1()(step).item() == pytest.approx(real.square().sum(1).mean().item() / 2, rel=1e-5)
    assert R2()(step).item() == pytest.approx(fake.square().sum(1).mean().item() / 2, rel=1e-5)


def test_per_sample_and_not_per_batch():
    """One norm over the whole batch would give (sqrt(1 + 25) - 1)^2."""
    x = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    value = GradientPenalty()(made_step(quadratic, x, x)).item()
    assert value == pytest.approx((0.0 + 16.0) / 2, rel=1e-4)


def test_norm_over_all_dimensions_of_an_image():
    x = torch.ones(2, 3, 4, 4)  # ||grad||^2 = 48 for each image, not 3 per pixel
    norm = squared_gradient_norm(made_step(quadratic, x, x), x, None)
    assert norm.tolist() == pytest.approx([48.0, 48.0])


def test_the_largest_gradient_of_all_and_not_the_mean():
    """Both ends are the same points, so the points between are known; grad D(x) = x."""
    x = torch.tensor([[1.0, 0.0], [0.0, 5.0], [2.0, 2.0]])
    step = made_step(quadratic, x, x)
    assert MaxGP()(step).item() == pytest.approx(25.0, rel=1e-4)
    assert ZeroCenteredGP()(step).item() == pytest.approx((1 + 25 + 8) / 3, rel=1e-4)
    assert WGANDiv(power=4.0)(step).item() == pytest.approx((1 + 625 + 64) / 3, rel=1e-4)


@pytest.mark.parametrize("term", [GradientPenalty(), ZeroCenteredGP(), WGANDiv(), MaxGP()])
def test_interpolates_have_their_own_mixture_each_and_lie_between(term):
    seen = []

    def spy(x, cond=None):
        seen.append(x.detach())
        return linear(x)

    n = 1000
    step = made_step(spy, torch.zeros(n, 2), torch.ones(n, 2))
    seen.clear()
    term(step)
    (x,) = seen
    assert torch.equal(x[:, 0], x[:, 1])  # one mixture for all of a sample
    assert 0 <= x.min() and x.max() <= 1
    assert x[:, 0].mean().item() == pytest.approx(0.5, abs=0.05)
    assert x[:, 0].var().item() == pytest.approx(1 / 12, abs=0.02)  # and uniform over samples


@pytest.mark.parametrize("scale", [0.02, 0.5, 7.0])
def test_dragan_perturbs_reals_by_a_share_of_their_own_spread(scale):
    """Whatever the data's units; with a spread of 0.5, as images in [-1, 1] have about, by 0.25."""
    seen = []

    def spy(x, cond=None):
        seen.append(x.detach())
        return linear(x)

    real = 3 + scale * points(20_000).double()
    step = made_step(spy, real, real)
    seen.clear()
    DRAGAN()(step)
    noise = seen[0] - real
    assert noise.mean().item() == pytest.approx(0, abs=0.01 * scale)
    assert noise.std().item() == pytest.approx(0.5 * scale, rel=0.02)
    assert noise.pow(4).mean().item() == pytest.approx(3 * (0.5 * scale) ** 4, rel=0.06)  # normal
    assert (noise * (real - 3)).mean().item() == pytest.approx(0, abs=0.01 * scale**2)


@pytest.mark.parametrize("x", [torch.randn(12, 3, 4, 4, dtype=torch.float64) * 2 + 5, torch.full((4, 2), 3.0)])
def test_the_spread_is_that_of_all_entries_of_the_batch(x):
    """However it is dealt out to devices: test_joint_batch plays it on one, two and three."""
    assert joint_spread(x).item() == pytest.approx(x.double().numpy().std(), rel=1e-12)


def test_zero_gradient_stays_differentiable():
    weight = torch.zeros(2, requires_grad=True)
    step = made_step(lambda x, cond=None: (x @ weight)[:, None], points(), points())
    (GradientPenalty()(step) + WGANDiv()(step) + WGANDiv(power=2.5)(step)).backward()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("term", [GradientPenalty(), DRAGAN(), R1(), R2()])
def test_gradient_by_the_weights(term):
    """d/dw of (||w|| - 1)^2 is 2 (||w|| - 1) w / ||w||, and of ||w||^2 / 2 is w."""
    weight = SLOPE.clone().requires_grad_()
    term(made_step(lambda x, cond=None: (x @ weight)[:, None], points(), points())).backward()
    expected = SLOPE if isinstance(term, (R1, R2)) else 2 * 4 * SLOPE / 5
    assert weight.grad.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_label_reaches_the_critic():
    def by_label(x, cond):
        return x[:, :1] * cond[:, None]

    real = points(2)
    step = Step(by_label, None, real, real, None, None, torch.tensor([1, 3]), Clock(0, 0), {})
    assert GradientPenalty()(step).item() == pytest.approx((0.0 + 4.0) / 2, abs=1e-4)


def test_in_float32_under_autocast():
    d = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    x = torch.randn(4, 8)

    def critic(x, cond=None):
        return d(x)

    exact = R1()(made_step(critic, x, x))
    exact.backward()
    expected = d[0].weight.grad.clone()
    d.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = made_step(critic, x, x, reuse=False)
        assert step.real_logits.dtype == torch.bfloat16
        inside = R1()(step)
    inside.backward()
    assert inside.dtype == torch.float32 and inside.item() == pytest.approx(exact.item(), rel=1e-6)
    assert torch.allclose(d[0].weight.grad, expected, rtol=1e-5)


@pytest.mark.parametrize("term, player", [(R1, "real"), (R2, "fake")])
@pytest.mark.parametrize("images, shape, gamma", [(64, (64, 3, 32, 32), 2e-4 * 1024 / 64), (0, (8, 1, 16, 16), 2e-4 * 32),
                                                  (4, (2, 3, 8, 8), 2e-4 * 16), (16, (16, 2), 2e-4 / 16)])
def test_automatic_weight(term, player, images, shape, gamma):
    """ADA's rule at 1024 px and 32 images comes to 6.6, where StyleGAN2 has 10. `images` counts all devices."""
    step = made_step(lambda x, cond=None: x.flatten(1).sum(1, keepdim=True), torch.zeros(shape), torch.zeros(shape))
    step = step._replace(clock=Clock(0, 0, images))
    assert term("auto").strength(step) == pytest.approx(gamma)
    assert term(3.0).strength(step) == 3.0


@pytest.mark.parametrize("term", ["r1", "r2"])
def test_automatic_weight_by_name(config, term):
    option = f"loss.d_terms.{term}.weight"
    for weight in ("auto", "0.5", "{_target_: gan_lightning.schedules.Linear, start: 1.0, end: 0.5}"):
        check(config(f"term=[{term}]", f"{option}={weight}"))
    with pytest.raises(ConfigError, match=f"{option}.*must be one of auto or a number.*did you mean.*auto"):
        check(config(f"term=[{term}]", f"{option}=aut"))
    with pytest.raises(ConfigError, match="weight=aut: R1 takes a number, a schedule or auto"):
        R1("aut")


def test_small_powers_are_refused():
    with pytest.raises(ConfigError, match="loss.d_terms.wgan_div.power=1.5: must be at least 2"):
        WGANDiv(power=1.5)
