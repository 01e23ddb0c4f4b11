"""Precision, recall, density and coverage against all pairs at once, and on toys whose answer is plain."""

import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.prdc import PRDC
from gan_lightning.metrics.statistics.base import Plan


def normal(n, seed, d=4, std=1.0):
    return std * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def scored(collected, fake, real, **settings):
    score = PRDC(**settings)
    return score.compute(collected(score, fake), collected(score, real))


def by_all_pairs(fake, real, k, k_density):
    def pairs(x, y):
        return (x.double()[:, None] - y.double()).square().sum(-1).sqrt()

    def radii(x, k):
        return pairs(x, x).sort(1).values[:, k]  # the first is x itself

    to_real = pairs(fake, real)
    wide = radii(real, k_density)
    return {"precision": (to_real <= radii(real, k)).any(1).double().mean().item(),
            "recall": (to_real.T <= radii(fake, k)).any(1).double().mean().item(),
            "density": (to_real < wide).sum().item() / (k_density * len(fake)),
            "coverage": (to_real < wide).any(0).double().mean().item()}


@pytest.mark.parametrize("settings", [{"k": 3, "k_density": 5}, {"k": 4, "k_density": 2}, {"k": 1, "k_density": 1}])
@pytest.mark.parametrize("n_fake, n_real", [(90, 120), (120, 90)])
def test_definition(collected, n_fake, n_real, settings):
    fake, real = normal(n_fake, 0, std=1.3) + 0.5, normal(n_real, 1)
    assert scored(collected, fake, real, **settings) == pytest.approx(by_all_pairs(fake, real, **settings), rel=1e-12)


def test_on_a_grid_of_integers_surfaces_count(collected):
    random = torch.Generator().manual_seed(0)
    fake, real = (torch.randint(5, (80, 2), generator=random).float() + 1e4 for _ in range(2))
    value, expected = scored(collected, fake, real), by_all_pairs(fake, real, 3, 5)
    assert value == pytest.approx(expected, rel=1e-12)


def test_equal_sets(collected):
    x = normal(100, 0)
    value = scored(collected, x, x)
    assert (value["precision"], value["recall"], value["coverage"]) == (1, 1, 1)
    assert value["density"] == pytest.approx(1)  # each ball without its surface holds its centre and 4 others


def test_collapsed_fakes_are_precise_and_recall_nothing(collected):
    real = normal(300, 0)
    fake = real[:1] + 1e-3 * normal(100, 1)
    value = scored(collected, fake, real)
    assert value["precision"] == 1 and value["recall"] < 0.02 and value["coverage"] < 0.05
    exact = scored(collected, real[:1].repeat(100, 1), real)
    assert exact["precision"] == 1 and exact["recall"] == pytest.approx(1 / 300) and exact["coverage"] < 0.05


def test_fakes_spread_far_beyond_recall_all_and_are_not_precise(collected):
    value = scored(collected, normal(300, 0, std=30.0), normal(300, 1))
    assert value["precision"] < 0.05 and value["recall"] > 0.95 and value["density"] < 0.1


def test_fakes_elsewhere(collected):
    value = scored(collected, normal(60, 0) + 100, normal(60, 1))
    assert list(value.values()) == [0, 0, 0, 0]


@pytest.mark.parametrize("n_fake, n_real, option", [(5, 100, "metrics.num_fake"), (100, 11, "metrics.num_real")])
def test_too_few_images(n_fake, n_real, option):
    with pytest.raises(ConfigError, match=option):
        PRDC().check(Plan(n_fake, 8), Plan(n_real, 8))
    PRDC().check(Plan(6, 8), Plan(12, 8))


def test_settings():
    with pytest.raises(ConfigError, match="k_density=0"):
        PRDC(k_density=0)
    with pytest.raises(ConfigError, match="below 5000"):
        PRDC(k=5000).check(Plan(50_000, 8), Plan(50_000, 8))
