"""Random feature matching against the kernel that it stands for."""

from math import pi

import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.feature_matching import FeatureMatching, RandomFeatureMatching


def made_step(real, fake, at=0):
    x = torch.zeros(len(real), 1)
    return Step(None, None, x, x, None, x, None, Clock(at, 0), {}, real, fake)


def arc_cosine(x, y):
    """E relu(w x) relu(w y) for w ~ N(0, I): Cho & Saul 2009, eq. 3 with n = 1, over 2."""
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)
    angle = (x @ y.T / lengths).clamp(-1, 1).acos()
    return lengths * (angle.sin() + (pi - angle) * angle.cos()) / (2 * pi)


def test_is_the_maximum_mean_discrepancy_of_the_arc_cosine_kernel():
    real, fake = torch.randn(5, 3, dtype=torch.float64), 0.5 * torch.randn(7, 3, dtype=torch.float64)
    x, y = (torch.cat([f / 3**0.5, torch.ones(len(f), 1)], 1) for f in (real, fake))  # b as a weight of a constant 1
    expected = arc_cosine(x, x).mean() + arc_cosine(y, y).mean() - 2 * arc_cosine(x, y).mean()
    value = RandomFeatureMatching(num_random=400_000)(made_step(real, fake))
    assert value.item() == pytest.approx(expected.item(), rel=0.03)


def test_sees_what_means_do_not():
    real, fake = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.zeros(2, 2)
    assert FeatureMatching()(made_step(real, fake)).item() == 0
    assert RandomFeatureMatching()(made_step(real, fake)).item() > 0.01


def test_drawn_anew_in_each_step_and_by_the_seed_alone():
    def value(seed, at):
        torch.manual_seed(seed)
        term = RandomFeatureMatching(num_random=8)
        term.bind(None)
        torch.randn(at + 3)  # what else is drawn, on this device or another, plays no part
        return term(made_step(real, fake, at)).item()

    real, fake = torch.randn(6, 4), torch.randn(6, 4)
    assert value(0, 5) == value(0, 5)
    assert len({value(0, 5), value(0, 6), value(1, 5)}) == 3


def test_teaches_the_fakes_alone():
    real, fake = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    RandomFeatureMatching()(made_step(real, fake)).backward()
    assert real.grad is None and (fake.grad != 0).any()


def test_at_least_one_random_feature():
    with pytest.raises(ConfigError, match="random_feature_matching.num_random=0: must be at least 1"):
        RandomFeatureMatching(num_random=0)
