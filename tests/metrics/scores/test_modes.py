"""Modes of mixtures on points whose answer is known."""

import math

import pytest
import torch

from gan_lightning.data.digits import Digits
from gan_lightning.data.gaussians import Grid, Ring
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.points import Points
from gan_lightning.metrics.scores.modes import Modes, kl_to_uniform
from gan_lightning.metrics.statistics.base import Features, Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.reservoir import Reservoir

POINTS = {"resolution": 1, "channels": 2}
RING, GRID = Ring(num_classes=8, n=20_000, **POINTS), Grid(num_classes=25, n=20_000, **POINTS)


def collected(points):
    made = Collected(Plan(len(points), 2), [Reservoir])
    made.update(Features(torch.arange(len(points)), points, None, None, points))
    return made


def bound(data, **settings):
    score = Modes(**settings)
    score.bind(data, Points())
    return score


def values(points, data=RING, **settings):
    return bound(data, **settings).compute(collected(points), collected(points))


@pytest.mark.parametrize("data, modes", [(RING, 8), (GRID, 25)])
@pytest.mark.parametrize("within", [1.0, 3.0])
def test_true_samples(data, modes, within):
    n, expected = 10_000, 1 - math.exp(-within**2 / 2)
    found = values(data.source().real[:n], data, within=within)
    assert found["modes"] == found["quarter_modes"] == modes
    assert found["high_quality"] == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / n))
    assert 0 < found["reverse_kl"] < 3 * (modes - 1) / (2 * n * expected)  # expected: (K - 1) / 2n


def test_the_ceiling_is_that_of_the_docstring():
    assert 1 - math.exp(-4.5) == pytest.approx(0.9889, abs=5e-5)


def test_every_mean_once():
    found = values(RING.means)
    assert found == {"modes": 8, "quarter_modes": 8, "high_quality": 1.0, "reverse_kl": pytest.approx(0, abs=1e-12)}


def test_one_mode():
    found = values(RING.means[[3] * 100])
    assert found == {"modes": 1, "quarter_modes": 1, "high_quality": 1.0, "reverse_kl": pytest.approx(math.log(8))}


def test_junk():
    assert values(torch.zeros(50, 2)) == {"modes": 0, "quarter_modes": 0, "high_quality": 0.0,
                                          "reverse_kl": pytest.approx(math.log(8))}


def test_at_the_edge_of_three_deviations():
    inside, outside = torch.tensor([0.0, 0.0299]), torch.tensor([0.0, 0.0301])
    found = values(torch.stack((RING.means[0] + inside, RING.means[0] + outside)))
    assert found["high_quality"] == 0.5 and found["modes"] == 1


def test_a_few_points_are_a_mode_but_no_quarter_of_a_share():
    points = torch.cat((RING.means[[0] * 770], RING.means[[1] * 25], RING.means[[2] * 5]))  # fair share: 100
    found = values(points)
    assert (found["modes"], found["quarter_modes"]) == (3, 2)
    share = torch.tensor([770, 25, 5]) / 800
    assert found["reverse_kl"] == pytest.approx((share * (share * 8).log()).sum().item(), rel=1e-5)


def test_reals_are_measured_by_as_many_points():
    points = torch.cat((RING.means[[0] * 10], RING.means))
    score = bound(RING)
    assert score.floor(collected(points), collected(points), 10)["modes"] == 1
    assert score.floor(collected(points), collected(points), 18)["modes"] == 8


def test_settings_tell_the_mixture():
    settings = bound(GRID).settings()
    assert settings["within"] == 3.0 and settings["std"] == 0.05 and settings["means"] == GRID.means.tolist()


def test_data_without_modes_and_bad_settings():
    with pytest.raises(ConfigError, match="data=gaussians_ring"):
        Modes().bind(Digits(resolution=8, channels=1), Points())
    with pytest.raises(ConfigError, match="within=0"):
        Modes(within=0)


def test_kl_to_uniform():
    assert kl_to_uniform(torch.tensor([3, 1, 0])) == pytest.approx(0.75 * math.log(2.25) + 0.25 * math.log(0.75))
    assert kl_to_uniform(torch.zeros(5)) == math.log(5)
