"""Distances among fakes against distances among reals."""

import pytest
import torch
from scipy.spatial.distance import pdist

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.diversity import Diversity
from gan_lightning.metrics.statistics.base import Features, Plan
from gan_lightning.metrics.statistics.collected import Collected


def points(n, seed, dim=16):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def collected(x):
    result = Collected(Plan(len(x), x.shape[1]), Diversity.reads)
    result.update(Features(torch.arange(len(x)), x, None, None, torch.zeros(len(x), 1, 2, 2, dtype=torch.uint8)))
    return result


def diversity(fake, real, **settings):
    return Diversity(**settings).compute(collected(fake), collected(real))


def test_against_brute_force():
    fake, real = points(40, 1) * 0.5 + 3, points(40, 2)
    values = diversity(fake, real)
    ours, theirs = (pdist(x.double().numpy()) for x in (fake, real))
    assert values["diversity"] == pytest.approx(ours.mean() / theirs.mean(), rel=1e-9)
    nearest = [torch.cdist(x.double(), x.double()).fill_diagonal_(torch.inf).min(1).values.median() for x in (fake, real)]
    assert values["spacing"] == pytest.approx((nearest[0] / nearest[1]).item(), rel=1e-9)
    assert set(values) == set(Diversity.values)


def test_equal_distributions_scale_and_shift():
    x, y = points(3000, 3), points(2500, 4)
    for name, value in diversity(x, y).items():
        assert value == pytest.approx(1.0, abs=0.03), name
    for name, value in diversity(0.25 * x + 1000, y).items():
        assert value == pytest.approx(0.25, abs=0.01), name


def test_all_the_same():
    assert diversity(points(1, 5).expand(500, -1) + 1e3, points(500, 6)) == {"diversity": 0.0, "spacing": 0.0}


def test_a_few_images_over_and_over():
    """Ten images, each a hundred times: as far from each other as reals are, yet every one has its twin."""
    real = points(1000, 7)
    values = diversity(real[torch.arange(1000) % 10], real)
    assert values["diversity"] > 0.8 and values["spacing"] == 0.0


def test_equally_many_of_each_are_compared():
    """More reals lie nearer to each other; that must not count against fewer fakes."""
    assert diversity(points(200, 8), points(5000, 9))["spacing"] == pytest.approx(1.0, abs=0.1)
    x = points(3000, 10)
    assert diversity(x, points(3000, 11), n=300) == diversity(x[torch.linspace(0, 2999, 300).long()], points(3000, 11), n=300)


def test_floor():
    x = points(2000, 12)
    floor = Diversity().floor(collected(x[:1000]), collected(x[1000:]), n_fake=50)
    assert floor["diversity"] == pytest.approx(1.0, abs=0.03) and floor["spacing"] == pytest.approx(1.0, abs=0.05)


def test_reals_that_are_all_the_same_have_no_diversity_to_compare_with():
    values = diversity(points(50, 13), torch.ones(50, 16))
    assert all(value != value for value in values.values())


def test_refused():
    with pytest.raises(ConfigError, match="metrics.scores.diversity.n=1: must be at least 2"):
        Diversity(n=1)
    with pytest.raises(ConfigError, match="needs at least 2 fakes, got 1"):
        Diversity().check(Plan(1, 4), Plan(9, 4))
    with pytest.raises(ConfigError, match="needs at least 4 reals, got 3"):
        Diversity().check(Plan(9, 4), Plan(3, 4))
