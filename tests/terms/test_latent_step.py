"""LOGAN's step against its formula, for players whose gradients are known."""

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.losses.adversarial import Wasserstein
from gan_lightning.losses.objective import Objective
from gan_lightning.tasks.base import Clock
from gan_lightning.tasks.generation import Generation
from gan_lightning.tasks.latent_step import LatentStep

A = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)  # D(x) = <A, x>


def g_of(weight):
    return lambda z: (z @ weight.T @ A)[:, None]  # of G(z) = W z: the gradient by z is W' A


def test_one_natural_gradient_step_of_a_linear_game():
    weight, z = torch.randn(3, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    g = weight.T @ A
    moved = LatentStep(rate=0.7, damping=2.0)(z, g_of(weight))
    assert torch.allclose(moved, z + 0.7 * g / (2.0 + g.square().sum()))


def test_each_latent_has_a_step_length_of_its_own():
    z = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    moved = LatentStep(rate=1.0, damping=1.0)(z, lambda z: z.square().sum(1, keepdim=True) / 2)  # gradient: z
    assert torch.allclose(moved, z + z / torch.tensor([[2.0], [101.0]]))


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
    moved = LatentStep(differentiable=differentiable)(z, g_of(weight))
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


def test_both_players_use_the_moved_latents():
    """D's score of every fake rises by rate |g|^2 / (damping + |g|^2), g being the gradient by z."""
    task = Generation(Line(4, 6), Sum(), Objective(Wasserstein()), latent_step=LatentStep(rate=0.5, damping=2.0))
    squared = task.g.weight.detach().sum(0).square().sum()
    batch = {"real": torch.zeros(5, 6)}
    for loss, sign in ((task.d_loss, 1), (task.g_loss, -1)):
        torch.manual_seed(3)
        value = loss(batch, Clock(0, 0))["adv"].item()
        torch.manual_seed(3)
        plain = task.g(torch.randn(5, 4)).sum(1).mean()
        assert sign * value == pytest.approx((plain + 0.5 * squared / (2 + squared)).item(), rel=1e-4)


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"damping": -1.0}])
def test_latent_steps_go_forward(settings):
    with pytest.raises(ConfigError, match="task.latent_step: .*must be above 0"):
        LatentStep(**settings)
