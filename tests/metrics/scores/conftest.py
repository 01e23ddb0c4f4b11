"""Sets made from features that are known."""

import pytest
import torch

from gan_lightning.metrics.statistics.base import Features, Plan
from gan_lightning.metrics.statistics.collected import Collected


@pytest.fixture
def collected():
    """collected(score, pool, logits, label, only) -> what `score` reads of a set, or of the images `only` of it."""
    def make(score, pool, logits=None, label=None, only=None):
        classes = 0 if label is None else int(label.max()) + 1
        part = Collected(Plan(len(pool), pool.shape[1], 0 if logits is None else logits.shape[1], classes),
                         score.reads + score.reads_of_reals)
        index = torch.arange(len(pool)) if only is None else only
        for i in index.split(300):
            part.update(Features(i, pool[i], None if logits is None else logits[i], None if label is None else label[i],
                                 torch.zeros(len(i), 1, 1, 1, dtype=torch.uint8)))
        return part
    return make
