"""Inception Score at its two ends, and against its definition."""

import numpy as np
import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.inception_score import InceptionScore
from gan_lightning.metrics.statistics.base import Plan


def scored(collected, logits):
    score = InceptionScore()
    part = collected(score, torch.zeros(len(logits), 1), logits)
    return score.compute(part, part)


def test_certain_of_ten_classes_is_ten(collected):
    """10,000 one-hot rows, in the order of their classes: no split may consist of one class."""
    logits = 1e4 * torch.nn.functional.one_hot(torch.arange(10_000) // 1000, 10).float()
    value = scored(collected, logits)
    assert value["cs"] == pytest.approx(10, rel=0.01) and value["cs"] <= 10
    assert value["cs_std"] < 0.05


def test_uniform_probabilities_are_one(collected):
    value = scored(collected, torch.full((100, 10), 3.0))
    assert value["cs"] == pytest.approx(1, rel=1e-12) and value["cs_std"] == pytest.approx(0, abs=1e-12)


def test_one_class_only_is_one(collected):
    assert scored(collected, torch.tensor([[50.0, 0, 0]]).repeat(40, 1))["cs"] == pytest.approx(1, rel=1e-12)


def test_definition(collected):
    logits = 3 * torch.randn(237, 7, generator=torch.Generator().manual_seed(0))
    p = logits.double().softmax(1).numpy()[np.random.RandomState(2020).permutation(237)]
    splits = [p[i * 237 // 10:(i + 1) * 237 // 10] for i in range(10)]
    expected = [np.exp((part * np.log(part / part.mean(0))).sum(1).mean()) for part in splits]
    value = scored(collected, logits)
    assert value["cs"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert value["cs_std"] == pytest.approx(np.std(expected), rel=1e-9)


def test_half_of_a_small_set_is_no_nan(collected):
    score, logits = InceptionScore(), torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    half = collected(score, torch.zeros(12, 1), logits, only=torch.arange(6))
    assert 1 <= score.floor(half, half, 12)["cs"] <= 3


def test_sets_that_cannot_be_scored():
    with pytest.raises(ConfigError, match="metrics.scores.inception_score=null"):
        InceptionScore().check(Plan(100, 8), Plan(100, 8))
    with pytest.raises(ConfigError, match="metrics.num_fake"):
        InceptionScore().check(Plan(9, 8, 10), Plan(100, 8, 10))
    InceptionScore().check(Plan(10, 8, 10), Plan(2, 8, 10))
