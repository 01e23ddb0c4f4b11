"""Kernel distance against its definition, pair by pair."""

import numpy as np
import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores import kernel
from gan_lightning.metrics.scores.kernel import KernelDistance
from gan_lightning.metrics.statistics.base import Plan


def normal(n, seed, d=6, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def pair_by_pair(x, y):
    """Binkowski et al. 2018, eq. 2 and 4."""
    x, y = x.double().numpy(), y.double().numpy()

    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    def within(z):
        return np.mean([k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j])

    return within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])


@pytest.mark.parametrize("block", [7, 2048])
@pytest.mark.parametrize("m, n", [(30, 30), (2, 41), (25, 13)])
def test_definition(collected, m, n, block, monkeypatch):
    monkeypatch.setattr(kernel, "BLOCK", block)
    score, x, y = KernelDistance(), normal(m, 0), normal(n, 1, shift=0.5)
    value = score.compute(collected(score, x), collected(score, y))["kd"]
    assert value == pytest.approx(pair_by_pair(x, y), rel=1e-10)


def test_unbiased(collected):
    """Sets of one distribution: 0 on average, and so below 0 about as often as above."""
    score = KernelDistance()
    values = [score.compute(collected(score, normal(60, 2 * i)), collected(score, normal(90, 2 * i + 1)))["kd"]
              for i in range(100)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 10
    assert 20 < np.sum(np.array(values) < 0) < 80


def test_standardised_features_have_no_unit(collected):
    score, x, y = KernelDistance(standardise=True), normal(40, 0), normal(50, 1, shift=1)
    value = score.compute(collected(score, x), collected(score, y))["kd"]
    size = y.double().square().mean().sqrt()
    assert value == pytest.approx(pair_by_pair(x.double() / size, y.double() / size), rel=1e-9)
    larger = score.compute(collected(score, 4096 * x), collected(score, 4096 * y))["kd"]
    assert larger == pytest.approx(value, rel=1e-10)


def test_standardise_with_features_that_are_all_zero(collected):
    score, zero = KernelDistance(standardise=True), torch.zeros(10, 3)
    assert score.compute(collected(score, zero), collected(score, zero))["kd"] == 0


def test_mean_over_subsets(collected):
    score, x, y = KernelDistance(subsets=5, subset_size=12), normal(40, 0), normal(30, 1, shift=0.5)
    lot = np.random.RandomState(2020)
    expected = []
    for _ in range(5):
        rows, columns = lot.choice(40, 12, replace=False), lot.choice(30, 12, replace=False)
        expected.append(pair_by_pair(x[rows], y[columns]))
    assert score.compute(collected(score, x), collected(score, y))["kd"] == pytest.approx(np.mean(expected), rel=1e-10)


def test_floor_of_halves_smaller_than_a_subset(collected):
    score, x = KernelDistance(subsets=3, subset_size=30), normal(40, 0)
    half, other = (collected(score, x, only=torch.arange(start, 40, 2)) for start in (0, 1))
    assert abs(score.floor(half, other, 40)["kd"]) < 5


def test_the_reals_are_paired_once(collected, monkeypatch):
    sizes, original = [], kernel.pair_mean
    monkeypatch.setattr(kernel, "pair_mean", lambda x, gamma: sizes.append(len(x)) or original(x, gamma))
    score = KernelDistance()
    real = collected(score, normal(50, 0))
    for seed in (1, 2):
        score.compute(collected(score, normal(20, seed)), real)
    assert sizes == [50, 20, 20]


@pytest.mark.parametrize("settings, n_fake, n_real, text", [
    ({}, 1, 100, "metrics.num_fake"), ({}, 100, 3, "metrics.num_real"),
    ({"subsets": 10}, 999, 5000, "subset_size=1000: must be at most 999"),
])
def test_sets_that_cannot_be_scored(settings, n_fake, n_real, text):
    with pytest.raises(ConfigError, match=text):
        KernelDistance(**settings).check(Plan(n_fake, 8), Plan(n_real, 8))


@pytest.mark.parametrize("settings", [{"subsets": 0}, {"subset_size": 1}])
def test_settings(settings):
    with pytest.raises(ConfigError, match="must be at least"):
        KernelDistance(**settings)
