"""The bias of a finite number of fakes is removed."""

import numpy as np
import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.frechet import FrechetDistance
from gan_lightning.metrics.scores.frechet_infinity import FrechetInfinity, intercept, subset_sums
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.reservoir import Reservoir

D = 16


def normal(n, seed, std=1.0):
    return std * torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def test_intercept_of_a_line():
    n = np.array([100, 200, 500, 1000])
    assert intercept(1 / n, 3 + 70 / n) == pytest.approx(3, rel=1e-12)


def test_subsets_are_nested_grow_and_end_with_all():
    x = normal(203, 0)
    sums = [(n, total.clone(), outer.clone()) for n, total, outer in subset_sums(x, 5)]
    assert [n for n, _, _ in sums] == [40, 81, 122, 162, 203]
    assert torch.allclose(sums[-1][1], x.double().sum(0)) and torch.allclose(sums[-1][2], x.double().T @ x.double())
    assert (sums[1][2] - sums[0][2]).diagonal().min() > 0


def test_class_sorted_fakes_give_subsets_of_all_classes():
    x = torch.arange(1000.0)[:, None].expand(-1, 2)
    n, total, _ = next(subset_sums(x, 3))
    assert (total / n - 499.5).abs().max() < 60


@pytest.mark.parametrize("limit", [10_000, 600])
def test_bias_is_removed(collected, limit, monkeypatch):
    """Against N(0, 1) in 16 dimensions, N(0, 1.1^2) is at a distance of 16 * 0.1^2, and 1,000 samples give 60 % more."""
    monkeypatch.setattr(Reservoir, "limit", limit)  # with 600, the whole set is one more point of the line
    infinite, plain = FrechetInfinity(), FrechetDistance()
    real = collected(infinite, normal(100_000, 0))
    pairs = []
    for seed in range(1, 6):
        fake = collected(infinite, normal(1000, seed, 1.1))
        pairs.append([infinite.compute(fake, real)["fd_infinity"], plain.compute(fake, real)["fd"]])
    extrapolated, biased = np.mean(pairs, axis=0)
    truth = D * 0.1**2
    assert biased - truth > 0.05 and abs(extrapolated - truth) < 0.25 * (biased - truth)


def test_floor_goes_with_the_number_of_reals_alone(collected):
    score, real = FrechetInfinity(), normal(4000, 0)
    rows = torch.randperm(4000, generator=torch.Generator().manual_seed(0))
    half, other = collected(score, real, only=rows[:2000]), collected(score, real, only=rows[2000:])
    floor = score.floor(half, other, 500)["fd_infinity"]
    measured = np.mean([score.compute(collected(score, normal(4000, seed)), half + other)["fd_infinity"]
                        for seed in range(1, 6)])
    assert floor == score.floor(half, other, 3000)["fd_infinity"]
    assert floor == pytest.approx(measured, rel=0.5)


def test_limits():
    with pytest.raises(ConfigError, match="points=1"):
        FrechetInfinity(points=1)
    with pytest.raises(ConfigError, match="metrics.num_fake"):
        FrechetInfinity().check(Plan(19, D), Plan(1000, D))
    with pytest.raises(ConfigError, match="metrics.num_real"):
        FrechetInfinity().check(Plan(100, D), Plan(39, D))
