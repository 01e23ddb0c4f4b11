"""How often each of the 1,000 triples of digits was seen."""

import torch
from torch import Tensor

from gan_lightning.data.stacked import BASE_CLASSES, CHANNELS, CLASSES, triple
from gan_lightning.metrics.statistics.base import Features, Plan, Statistic


class StackedCounts(Statistic):
    """Reads logits (b, 30), ten for each channel: the triple a, b, c of their largest counts at 100 a + 10 b + c."""

    counts: Tensor

    def __init__(self, plan: Plan):
        super().__init__(plan)
        self.add_sum("counts", (CLASSES,), torch.int64)

    def update(self, features: Features) -> None:
        triples = triple(features.logits.unflatten(1, (CHANNELS, BASE_CLASSES)).argmax(2))
        self.counts += torch.bincount(triples, minlength=CLASSES).to(self.counts)
