"""Mean and covariance of features, of a whole set and of each of its classes."""

import torch
from torch import Tensor

from gan_lightning.errors import UserError
from gan_lightning.metrics.statistics.base import Features, Plan, Statistic


class Moments(Statistic):
    """Number of images, sum of their features x and sum of x x', in float64: 34 MB for 2048 features."""

    n: Tensor
    sum: Tensor
    outer: Tensor

    def __init__(self, plan: Plan):
        super().__init__(plan)
        self.add_sum("n", (), torch.int64)
        self.add_sum("sum", (plan.dim,))
        self.add_sum("outer", (plan.dim, plan.dim))

    def update(self, features: Features) -> None:
        x = features.pool.to(self.outer)
        self.n += len(x)
        self.sum += x.sum(0)
        self.outer.addmm_(x.T, x)

    def mean_cov(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d), divided by n - 1. Raises UserError if a feature was not finite."""
        return mean_cov(int(self.n), self.sum, self.outer)


class ClassMoments(Statistic):
    """The Moments of each class, by the images' labels: `plan.classes` times the memory."""

    n: Tensor
    sum: Tensor
    outer: Tensor

    def __init__(self, plan: Plan):
        super().__init__(plan)
        self.add_sum("n", (plan.classes,), torch.int64)
        self.add_sum("sum", (plan.classes, plan.dim))
        self.add_sum("outer", (plan.classes, plan.dim, plan.dim))

    def update(self, features: Features) -> None:
        label = features.label.to(self.outer.device)
        pool = features.pool.to(self.outer)
        for number in label.unique().tolist():
            x = pool[label == number]
            self.n[number] += len(x)
            self.sum[number] += x.sum(0)
            self.outer[number].addmm_(x.T, x)

    def mean_cov(self, number: int) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of one class."""
        return mean_cov(int(self.n[number]), self.sum[number], self.outer[number])


def mean_cov(n: int, total: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance (divided by n - 1) of n vectors from the sums of x and of x x'."""
    if not bool(outer.isfinite().all()):
        raise UserError("some features are infinite or not a number: the images, or the extractor's weights, "
                        "are damaged")
    mean = total / n
    return mean, torch.addr(outer, total, mean, alpha=-1).div_(n - 1)
