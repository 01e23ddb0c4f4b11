"""Sums of class probabilities: all that the Inception Score needs."""

import numpy as np
import torch
from torch import Tensor

from gan_lightning.metrics.statistics.base import Features, Plan, Statistic

SPLITS = 10
SEED = 2020


def split_of(n: int, splits: int = SPLITS) -> Tensor:
    """uint8 (n,): the split that each image belongs to, as torch-fidelity deals them.

    That library shuffles the images by a fixed seed, so that no order of files matters, and cuts the shuffled row at
    i n // splits.
    """
    split = np.empty(n, dtype=np.uint8)
    order = np.random.RandomState(SEED).permutation(n)
    for number in range(splits):
        split[order[number * n // splits:(number + 1) * n // splits]] = number
    return torch.from_numpy(split)


class ClassSums(Statistic):
    """Of each split: the number of images, the sum of their class probabilities p and that of sum_c p_c log p_c."""

    splits = SPLITS
    split_of: Tensor
    n: Tensor
    p: Tensor
    p_log_p: Tensor

    def __init__(self, plan: Plan):
        super().__init__(plan)
        self.add_sum("n", (self.splits,))
        self.add_sum("p", (self.splits, plan.logits))
        self.add_sum("p_log_p", (self.splits,))
        self.register_buffer("split_of", split_of(plan.n, self.splits), persistent=False)

    def update(self, features: Features) -> None:
        log_p = features.logits.to(self.p).log_softmax(1)
        p = log_p.exp()
        split = self.split_of.to(p.device)[features.index.to(p.device)].long()
        member = torch.nn.functional.one_hot(split, self.splits).to(p.dtype)  # a product sums in a fixed order
        self.n += member.sum(0)
        self.p.addmm_(member.T, p)
        self.p_log_p += member.T @ (p * log_p).sum(1)
