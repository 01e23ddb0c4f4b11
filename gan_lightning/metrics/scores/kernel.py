"""Kernel distance: KID, on Inception's features."""

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.base import Extractor
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.scores.frechet import check_counts
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.reservoir import Reservoir

BLOCK = 2048
SEED = 2020


def cross_sum(x: Tensor, y: Tensor, gamma: float) -> Tensor:
    """Sum over all pairs of k(x, y) = (gamma <x, y> + 1)^3, float64; gamma is 1 / d in Binkowski et al. 2018, eq. 2."""
    total = x.new_zeros((), dtype=torch.float64)
    for rows in x.split(BLOCK):
        a = gamma * rows.double()
        for columns in y.split(BLOCK):
            total += (a @ columns.double().T).add_(1).pow_(3).sum()
    return total


def pair_mean(x: Tensor, gamma: float) -> Tensor:
    """Mean of k over all pairs of different rows, float64: each block below the diagonal counts twice."""
    blocks = x.split(BLOCK)
    total = x.new_zeros((), dtype=torch.float64)
    for i, rows in enumerate(blocks):
        total += cross_sum(rows, rows, gamma) - (gamma * rows.double().square().sum(1) + 1).pow(3).sum()
        for columns in blocks[:i]:
            total += 2 * cross_sum(rows, columns, gamma)
    return total / (len(x) * (len(x) - 1))


def squared_discrepancy(x: Tensor, y: Tensor, gamma: float, y_mean: Tensor | None = None) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3); below 0 at times.

    `y_mean`: `pair_mean` of y, if it is known already.
    """
    y_mean = pair_mean(y, gamma) if y_mean is None else y_mean
    return float(pair_mean(x, gamma) + y_mean - 2 * cross_sum(x, y, gamma) / (len(x) * len(y)))


class KernelDistance(Score):
    """Squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018, arXiv:1801.01401); `kid` on
    Inception's features.

    Unbiased: 0 on average for sets of one distribution, whatever their sizes. By default one estimate over all
    features that are kept (10,000 of a set at most), with no randomness in it; the usual mean over random subsets has
    more noise.

    Args:
        subsets: number of random subsets whose estimates are averaged, as torch-fidelity does; None for one estimate.
        subset_size: images in each.
        standardise: divide all features by the root mean square of the reals'. The kernel is made for features of the
            size of Inception's, about 1; None: not those of published networks, as is the custom, but all others.
    """

    reads = (Reservoir,)
    values = {"kd": False}

    def __init__(self, subsets: int | None = None, subset_size: int = 1000, standardise: bool | None = None):
        for name, value, least in (("subsets", subsets, 1), ("subset_size", subset_size, 2)):
            if value is not None and value < least:
                raise ConfigError(f"metrics.scores.kernel.{name}={value}: must be at least {least}")
        self.subsets, self.subset_size, self.standardise = subsets, subset_size, standardise

    def bind(self, data: ImageData, extractor: Extractor) -> None:
        if self.standardise is None:
            self.standardise = not extractor.pretrained

    def check(self, fake: Plan, real: Plan) -> None:
        check_counts(fake, real, 2, "a kernel distance")
        kept = min(fake.n, real.n, Reservoir.limit)
        if self.subsets is not None and kept < self.subset_size:
            raise ConfigError(f"metrics.scores.kernel.subset_size={self.subset_size}: must be at most {kept}, the "
                              "number of images that are kept of the smaller set")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        x, y = fake[Reservoir].features(), real[Reservoir].features()
        gamma = 1 / x.shape[1]
        if self.standardise:
            square = float(torch.linalg.vector_norm(y, dtype=torch.float64)) ** 2 / y.numel()
            gamma /= square or 1.0
        if self.subsets is not None:
            return {"kd": self._mean_of_subsets(x, y, gamma)}
        y_mean = real.derive(("pair_mean", gamma), lambda: pair_mean(y, gamma))
        return {"kd": squared_discrepancy(x, y, gamma, y_mean)}

    def _mean_of_subsets(self, x: Tensor, y: Tensor, gamma: float) -> float:
        size = min(self.subset_size, len(x), len(y))  # halves of the reals may have fewer
        lot = np.random.RandomState(SEED)

        def some(rows: Tensor) -> Tensor:
            return rows[torch.from_numpy(lot.choice(len(rows), size, replace=False)).to(rows.device)]

        return float(np.mean([squared_discrepancy(some(x), some(y), gamma) for _ in range(self.subsets)]))
