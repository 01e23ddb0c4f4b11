"""The distance within each class."""

import math

import pytest
import torch

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.scores.frechet import FrechetDistance
from gan_lightning.metrics.scores.intra_class import IntraClass
from gan_lightning.metrics.statistics.base import Plan


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_mean_over_the_classes(collected):
    fake, real = normal(150, 8, 0), 2 * normal(200, 8, 1)
    fake_label, real_label = torch.arange(150) % 3, torch.arange(200) % 3
    score, plain = IntraClass(), FrechetDistance()
    value = score.compute(collected(score, fake, label=fake_label), collected(score, real, label=real_label))
    parts = [plain.compute(collected(plain, fake[fake_label == c]), collected(plain, real[real_label == c]))["fd"]
             for c in range(3)]
    assert value["intra_fd"] == pytest.approx(sum(parts) / 3, rel=1e-10)


def test_sees_labels_that_are_not_obeyed(collected):
    """Two far classes exchanged: all together are the same set, each class is 10 away in each of 4 features."""
    x, label = normal(400, 4, 0), torch.arange(400) % 2
    x += 10 * label[:, None]
    score, plain = IntraClass(), FrechetDistance()
    assert plain.compute(collected(plain, x), collected(plain, x))["fd"] == pytest.approx(0, abs=1e-9)
    value = score.compute(collected(score, x, label=1 - label), collected(score, x, label=label))["intra_fd"]
    assert value == pytest.approx(400, rel=0.1)


def test_floor_is_what_fresh_samples_get(collected):
    score, real, label = IntraClass(), normal(4000, 8, 0), torch.arange(4000) % 4
    rows = torch.randperm(4000, generator=torch.Generator().manual_seed(0))
    half, other = (collected(score, real, label=label, only=part) for part in (rows[:2000], rows[2000:]))
    fakes = [collected(score, normal(1000, 8, seed), label=torch.arange(1000) % 4) for seed in range(1, 6)]
    measured = sum(score.compute(fake, half + other)["intra_fd"] for fake in fakes) / 5
    assert score.floor(half, other, 1000)["intra_fd"] == pytest.approx(measured, rel=0.25)


def test_floor_leaves_out_classes_that_are_too_small(collected):
    score, x = IntraClass(), normal(41, 3, 0)
    label = torch.cat((torch.zeros(40, dtype=torch.int64), torch.ones(1, dtype=torch.int64)))
    half, other = (collected(score, x, label=label, only=torch.arange(start, 41, 2)) for start in (0, 1))
    assert math.isfinite(score.floor(half, other, 40)["intra_fd"])
    nothing = collected(score, x, label=label, only=torch.arange(0))
    assert math.isnan(score.floor(nothing, nothing + half, 40)["intra_fd"])


@pytest.mark.parametrize("fake, real, text", [
    (Plan(100, 8, 0, 0), Plan(100, 8, 0, 5), "fakes have no classes and reals 5"),
    (Plan(100, 8, 0, 5), Plan(100, 8, 0, 0), "reals none"),
    (Plan(100, 8, 0, 0), Plan(100, 8, 0, 0), "reals none"),
    (Plan(9, 8, 0, 5), Plan(100, 8, 0, 5), "metrics.num_fake"),
    (Plan(10**6, 2048, 0, 1000), Plan(10**6, 2048, 0, 1000), "33.6 GB"),
])
def test_sets_that_cannot_be_scored(fake, real, text):
    with pytest.raises(ConfigError, match=text):
        IntraClass().check(fake, real)


def test_a_class_without_fakes_is_named(collected):
    score, x, label = IntraClass(), normal(40, 3, 0), torch.arange(40) % 3
    with pytest.raises(UserError, match="class 1 has 0 fakes: raise metrics.num_fake"):
        score.compute(collected(score, x, label=label * 2 % 3 * 2 % 3 + (label == 1)), collected(score, x, label=label))
