"""Triples of digits counted by hand."""

import math

import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.random_conv import RandomConv
from gan_lightning.metrics.extractors.stacked_classifier import StackedClassifier
from gan_lightning.metrics.scores.stacked_modes import StackedModes
from gan_lightning.metrics.statistics.base import Features, Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.stacked_counts import StackedCounts

SCORE = StackedModes()


def collected(triples, batch=1000):
    """Logits that say these triples, int (n,)."""
    made = Collected(Plan(len(triples), 192, 30, 1000), [StackedCounts])
    for index in torch.arange(len(triples)).split(batch):
        said = triples[index]
        digits = torch.stack((said // 100, said // 10 % 10, said % 10), 1)
        logits = torch.nn.functional.one_hot(digits, 10).float().flatten(1) * 5
        made.update(Features(index, torch.zeros(len(index), 192), logits, None, torch.zeros(len(index), 3, 8, 8)))
    return made


def test_counts_of_hand_made_triples():
    counts = collected(torch.tensor([0, 7, 70, 700, 999, 999]))[StackedCounts].counts
    assert {int(i): int(counts[i]) for i in counts.nonzero()} == {0: 1, 7: 1, 70: 1, 700: 1, 999: 2}


def test_every_triple_equally_often():
    every = collected(torch.arange(1000).repeat(3))
    assert SCORE.compute(every, every) == {"stacked_modes": 1000, "stacked_kl": pytest.approx(0, abs=1e-12)}


def test_one_triple_only():
    one = collected(torch.full((500,), 123))
    assert SCORE.compute(one, one) == {"stacked_modes": 1, "stacked_kl": pytest.approx(math.log(1000))}


def test_a_perfect_model_has_the_expected_divergence():
    drawn = torch.randint(1000, (26_000,), generator=torch.Generator().manual_seed(0))
    found = SCORE.compute(collected(drawn), collected(drawn))
    assert found["stacked_modes"] == 1000
    assert found["stacked_kl"] == pytest.approx(999 / 52_000, rel=0.2)  # chi^2_999 / 2n: 4.5 % of spread


def test_reals_are_counted_in_as_many_stacks_as_fakes():
    """A classifier that reads all digits equally often, and one that never reads a 9 and reads 0 twice as often."""
    extractor, score = StackedClassifier(), StackedModes()
    extractor.reads = [20] * 10
    score.bind(None, extractor)
    floor = score.floor(None, None, 26_000)
    assert floor == score.floor(None, None, 26_000)
    assert floor["stacked_kl"] == pytest.approx(999 / 52_000, rel=0.2)
    assert score.floor(None, None, 10)["stacked_modes"] <= 10
    extractor.reads = [40, *[20] * 8, 0]
    score.bind(None, extractor)
    floor = score.floor(None, None, 260_000)
    single = [0.2, *[0.1] * 8]
    assert floor["stacked_modes"] == 9**3
    assert floor["stacked_kl"] == pytest.approx(3 * sum(p * math.log(10 * p) for p in single), rel=0.02)


def test_parts_add_up():
    triples = torch.randint(1000, (300,))
    parts = collected(triples[:120])[StackedCounts] + collected(triples[120:])[StackedCounts]
    assert torch.equal(parts.counts, collected(triples)[StackedCounts].counts)


def test_other_extractors_are_refused():
    with pytest.raises(ConfigError, match="metrics=stacked"):
        SCORE.bind(None, RandomConv())
