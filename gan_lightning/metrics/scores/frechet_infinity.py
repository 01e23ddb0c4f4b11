"""Fréchet distance that infinitely many fakes would have."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.scores.frechet import check_counts, distance_to, real_gaussian
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.moments import Moments, mean_cov
from gan_lightning.metrics.statistics.reservoir import Reservoir


class FrechetInfinity(Score):
    """The distance at growing numbers of fakes, continued along a line in 1/n to n = infinity (Chong and Forsyth 2020,
    arXiv:1911.07023, sec. 4).

    Removes the fakes' share of the bias, which differs between generators; that of the reals stays. The subsets are
    nested, drawn by a fixed lot from the features that are kept (10,000 at most), from a fifth of them to all; all
    fakes together are one more point of the line.

    Args:
        points: sizes of subsets.
    """

    reads = (Moments, Reservoir)
    values = {"fd_infinity": False}

    def __init__(self, points: int = 10):
        if points < 2:
            raise ConfigError(f"metrics.scores.frechet_infinity.points={points}: a line needs at least 2")
        self.points = points

    def check(self, fake: Plan, real: Plan) -> None:
        check_counts(fake, real, 2 * self.points, f"frechet_infinity with {self.points} points")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        reals = real_gaussian(real)
        features, moments = fake[Reservoir].features(), fake[Moments]
        counts, distances = [], []
        for n, total, outer in subset_sums(features, self.points):
            counts.append(n)
            distances.append(distance_to(*mean_cov(n, total, outer), n, reals))
        if int(moments.n) > len(features):
            counts.append(int(moments.n))
            distances.append(distance_to(*moments.mean_cov(), int(moments.n), reals))
        return {"fd_infinity": intercept(1 / np.array(counts), np.array(distances))}

    def floor(self, half: Collected, other: Collected, n_fake: int) -> dict[str, float]:
        """Between halves, scaled to the number of reals: what is left of the bias goes with 1 / that number."""
        n1, n2 = int(half[Moments].n), int(other[Moments].n)
        return {"fd_infinity": self.compute(half, other)["fd_infinity"] * n2 / (n1 + n2)}


def subset_sums(features: Tensor, points: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """n and the sums of x and of x x', float64, of nested random subsets of the rows, the last one being all of them.

    The same tensors are added to and handed out each time.
    """
    m, d = features.shape
    order = torch.from_numpy(np.random.RandomState(0).permutation(m)).to(features.device)
    total = torch.zeros(d, dtype=torch.float64, device=features.device)
    outer = torch.zeros(d, d, dtype=torch.float64, device=features.device)
    start = 0
    for stop in np.linspace(m // 5, m, points).round().astype(int).tolist():
        x = features[order[start:stop]].double()
        total += x.sum(0)
        outer.addmm_(x.T, x)
        start = stop
        yield stop, total, outer


def intercept(x: np.ndarray, y: np.ndarray) -> float:
    """At x = 0, of the line of least squares."""
    return float(np.polynomial.Polynomial.fit(x, y, 1)(0.0))
