"""LOGAN's step against its formula, for players whose gradients are known."""

from math import sqrt

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.losses.adversarial import Wasserstein
from gan_lightning.losses.objective import Objective
from gan_lightning.tasks.base import Clock
from gan_lightning.tasks.generation import Generation
from gan_lightning.tasks.latent_step import LatentStep
from gan_lightning.terms.gradient import R2

A = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)  # D(x) = <A, x>


def g_of(weight):
    return lambda z: (z @ weight.T @ A)[:, None]  # of G(z) = W z: the gradient by z is W' A


def test_one_natural_gradient_step_of_a_linear_game():
    weight, z = torch.randn(3, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    g = weight.T @ A
    moved = LatentStep(rate=0.7, damping=2.0, share=1.0)(z, g_of(weight))
    assert torch.allclose(moved, z + 0.7 * g / (2.0 + g.square().sum()))


def test_each_latent_has_a_step_length_of_its_own():
    z = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    moved = LatentStep(rate=1.0, damping=1.0, share=1.0)(z, lambda z: z.square().sum(1, keepdim=True) / 2)  # gradient: z
    assert torch.allclose(moved, z + z / torch.tensor([[2.0], [101.0]]))


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_share_of_the_elements_moves_as_far_as_all_would(share):
    z = torch.randn(500, 200, dtype=torch.float64)
    g = torch.randn(200, dtype=torch.float64)
    step = LatentStep(rate=0.7, damping=2.0, share=share)(z, lambda z: (z @ g)[:, None]) - z
    moved = step != 0
    assert torch.allclose(step, moved * 0.7 * g / (2.0 + g.square().sum()))
    # each element of each latent by itself: nothing is left of it in the shares of rows and columns but chance
    for shares, n in ((moved.double().mean(0), 500), (moved.double().mean(1), 200)):
        assert shares.mean().item() == pytest.approx(share, abs=5 * sqrt(share * (1 - share) / 1e5))
        assert shares.std().item() == pytest.approx(sqrt(share * (1 - share) / n), rel=0.25)


def test_the_default_step_can_be_seen():
    """The longest that rate and damping allow, rate / (2 sqrt(damping)), is above 1: a normal coordinate's spread."""
    step = LatentStep(share=1.0)
    z, g = torch.zeros(1, 1, dtype=torch.float64), sqrt(step.damping)  # the gradient that is stepped on farthest
    assert step(z, lambda z: g * z).item() == pytest.approx(step.rate / (2 * g)) == pytest.approx(0.9 / (2 * sqrt(0.1)))


@pytest.mark.parametrize("differentiable", [True, False])
def test_g_learns_through_the_step(differentiable):
    """d/dW of A' W (z + rate W'A / (damping + |W'A|^2)), with the step as a constant if it is not differentiable."""
    weight = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    z = torch.randn(5, 2, dtype=torch.float64)

    def score(w, through):
        g = w.T @ A
        step = 0.9 * g / (5.0 + g.square().sum())
        return ((z + (step if through else step.detach())) @ w.T @ A).mean()

    (expected,) = torch.autograd.grad(score(weight, differentiable), weight)
    moved = LatentStep(damping=5.0, share=1.0, differentiable=differentiable)(z, g_of(weight))
    (found,) = torch.autograd.grad(g_of(weight)(moved).mean(), weight)
    assert torch.allclose(found, expected)
    (other,) = torch.autograd.grad(score(weight, not differentiable), weight)
    assert not torch.allclose(found, other)


class Line(nn.Linear):
    z_dim = 4

    def forward(self, z, cond=None):
        return super().forward(z)


class Sum(nn.Module):
    def forward(self, x, cond=None):
        return x.sum(1, keepdim=True)


class Scores(nn.Module):
    """D(x) = <w, x^2> / 2."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6))

    def forward(self, x, cond=None):
        return (x.square() @ self.w)[:, None] / 2


def test_both_players_use_the_moved_latents():
    """D's score of every fake rises by rate |g|^2 / (damping + |g|^2), g being the gradient by z."""
    task = Generation(Line(4, 6), Sum(), Objective(Wasserstein()),
                      latent_step=LatentStep(rate=0.5, damping=2.0, share=1.0))
    squared = task.g.weight.detach().sum(0).square().sum()
    batch = {"real": torch.zeros(5, 6)}
    for loss, sign in ((task.d_loss, 1), (task.g_loss, -1)):
        torch.manual_seed(3)
        value = loss(batch, Clock(0, 0))["adv"].item()
        torch.manual_seed(3)
        plain = task.g(torch.randn(5, 4)).sum(1).mean()
        assert sign * value == pytest.approx((plain + 0.5 * squared / (2 + squared)).item(), rel=1e-4)


def game(**settings) -> tuple[Generation, dict]:
    step = LatentStep(**{"rate": 0.5, "damping": 2.0, "share": 1.0, "weight": 0.3} | settings)
    objective = Objective(Wasserstein(), d_terms={"r2": R2(0.7)})
    task = Generation(Line(4, 6), Scores(), objective, latent_step=step).double()
    return task, {"real": torch.randn(5, 6, dtype=torch.float64)}


def d_loss_by_hand(task, z, real, w, through=True):
    """Of D(x) = <w, x^2> / 2 and G(z) = W z + b: the gradient by z is W' (w * G(z))."""
    g = lambda z: z @ task.g.weight.detach().T + task.g.bias.detach()  # noqa: E731
    gradient = (w * g(z)) @ task.g.weight.detach()
    delta = 0.5 * gradient / (2.0 + gradient.square().sum(1, keepdim=True))
    fake = g(z + (delta if through else delta.detach()))
    score = lambda x: (x.square() @ w) / 2  # noqa: E731
    # R2 takes the points as given; the gradient of D is w * x.
    return {"adv": score(fake).mean() - score(real).mean(),
            "r2": 0.7 * (w * fake.detach()).square().sum(1).mean() / 2,
            "latent_step": 0.3 * delta.square().sum(1).mean()}


def drawn(task) -> torch.Tensor:
    torch.manual_seed(3)
    z = torch.randn(5, 4)
    torch.manual_seed(3)
    return z


@pytest.mark.parametrize("differentiable", [True, False])
def test_d_learns_through_the_step_and_pays_for_it_unless_it_is_given(float64, differentiable):
    task, batch = game(differentiable=differentiable)
    w = task.d.w.detach().clone().requires_grad_()
    expected = d_loss_by_hand(task, drawn(task), batch["real"], w, through=differentiable)
    found = task.d_loss(batch, Clock(0, 0))
    # A step that is given costs nothing that could be learnt from.
    assert found.keys() == (expected.keys() if differentiable else {"adv", "r2"})
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-10), name
        (mine,) = torch.autograd.grad(value, task.d.w, retain_graph=True)
        (theirs,) = torch.autograd.grad(expected[name], w, retain_graph=True)
        assert torch.allclose(mine, theirs, rtol=1e-10), name


def test_g_pays_for_the_length_of_the_step(float64):
    """By finite differences of the squared length's formula."""
    task, batch = game()
    z, w = drawn(task), task.d.w.detach()
    cost = task.g_loss(batch, Clock(0, 0))["latent_step"]

    def by_hand(weight):
        gradient = (w * (z @ weight.T + task.g.bias.detach())) @ weight
        return 0.3 * (0.5 * gradient / (2.0 + gradient.square().sum(1, keepdim=True))).square().sum(1).mean().item()

    weight = task.g.weight.detach()
    assert cost.item() == pytest.approx(by_hand(weight), rel=1e-10)
    (gradient,) = torch.autograd.grad(cost, task.g.weight)
    direction = torch.randn_like(weight)
    slope = (by_hand(weight + 1e-5 * direction) - by_hand(weight - 1e-5 * direction)) / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-6)


def test_without_a_weight_nothing_is_paid():
    task, batch = game(weight=0.0)
    batch = {"real": batch["real"].float()}
    task.float()
    assert task.d_loss(batch, Clock(0, 0)).keys() == {"adv", "r2"} and task.g_loss(batch, Clock(0, 0)).keys() == {"adv"}


@pytest.mark.parametrize("latent, most", [("uniform", 1.0), ("normal", 100.0)])
def test_uniform_latents_stay_where_they_are_drawn(latent, most):
    """And pay for the way that they went, not for the one that was cut off."""
    task = Generation(Line(4, 6), Sum(), Objective(Wasserstein()), latent=latent,
                      latent_step=LatentStep(rate=50.0, damping=2.0, share=1.0, weight=1.0))
    torch.manual_seed(3)
    made = task.prepare({"real": torch.zeros(50, 6)})
    assert made["z"].abs().max().item() <= most
    assert (made["z"].abs() == 1).any().item() == (latent == "uniform")
    torch.manual_seed(3)
    z = torch.rand(50, 4) * 2 - 1 if latent == "uniform" else torch.randn(50, 4)
    torch.manual_seed(3)
    paid = task.g_loss({"real": torch.zeros(50, 6)}, Clock(0, 0))["latent_step"].item()
    assert paid == pytest.approx((made["z"] - z).square().sum(1).mean().item(), rel=1e-5)


def test_numbered_samples_are_of_latents_as_they_are():
    task = Generation(Line(4, 6), Sum(), Objective(Wasserstein()), latent_step=LatentStep(rate=50.0))
    batch = task.sample_batch(range(3), seed=0)
    assert torch.equal(task.generate(batch, task.g), task.g(batch["z"]))


@pytest.mark.parametrize("settings, message", [
    ({"rate": 0.0}, "rate=0.0.*must be above 0"), ({"damping": -1.0}, "damping=-1.0 must be above 0"),
    ({"share": 0.0}, "share=0.0: must be above 0, and at most 1"), ({"share": 1.5}, "share=1.5: must be above 0, and"),
    ({"weight": -0.1}, "weight=-0.1: must be at least 0"),
])
def test_latent_steps_go_forward(settings, message):
    with pytest.raises(ConfigError, match=f"task.latent_step.*{message}"):
        LatentStep(**settings)
