"""Features themselves, of at most 10,000 images."""

import numpy as np
import torch
from torch import Tensor

from gan_lightning.errors import UserError
from gan_lightning.metrics.statistics.base import Features, Plan, Statistic


class Reservoir(Statistic):
    """Features of the whole set, or of `limit` images chosen by a fixed lot: 82 MB for 2048 features.

    Every kept image has a slot of its own, which is zero until the image comes. So parts of a set add up exactly.
    """

    limit = 10_000
    seed = 0
    chosen: Tensor
    slot_of: Tensor
    kept: Tensor
    filled: Tensor

    def __init__(self, plan: Plan):
        super().__init__(plan)
        numbers = chosen(plan.n, self.limit, self.seed)
        slot_of = torch.full((plan.n,), -1)
        slot_of[numbers] = torch.arange(len(numbers))
        self.register_buffer("chosen", numbers, persistent=False)
        self.register_buffer("slot_of", slot_of, persistent=False)
        self.add_sum("kept", (len(numbers), plan.dim), torch.float32)
        self.add_sum("filled", (len(numbers),), torch.int64)

    def update(self, features: Features) -> None:
        slot = self.slot_of.to(features.index.device)[features.index]
        row = (slot >= 0).nonzero().squeeze(1)
        slot = slot[row].to(self.kept.device)
        self.kept[slot] = features.pool[row].to(self.kept)
        self.filled[slot] = 1

    def features(self) -> Tensor:
        """float32 (m, d), in the order of the images' numbers. Raises UserError if one is not finite."""
        features = self.kept[self.filled > 0]
        if not bool(features.isfinite().all()):
            raise UserError("some features are infinite or not a number: the images, or the extractor's weights, "
                            "are damaged")
        return features

    def numbers(self) -> Tensor:
        """int64 (m,): the number within its set of each image that `features` gives."""
        return self.chosen.to(self.filled.device)[self.filled > 0]


def chosen(n: int, limit: int, seed: int) -> Tensor:
    """Numbers of the images that are kept of n, ascending."""
    if n <= limit:
        return torch.arange(n)
    return torch.from_numpy(np.sort(np.random.RandomState(seed).permutation(n)[:limit]))
