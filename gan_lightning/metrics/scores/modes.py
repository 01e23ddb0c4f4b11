"""Modes of a mixture of Gaussians that the generator finds."""

import math

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.base import Extractor
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.reservoir import Reservoir


class Modes(Score):
    """How many modes are found, and how many points are near one (VEEGAN, Srivastava et al. 2017, arXiv:1705.07761,
    sec. 4.1; PacGAN, Lin et al. 2018, arXiv:1712.04086, sec. 4.1: 2,500 points).

    A point belongs to its nearest mean, and is of high quality if that is less than `within` standard deviations away.
    modes: means with at least one point of high quality, which flatters; quarter_modes: with at least a quarter of
    their fair share n / K of them; high_quality: their share of all points; reverse_kl: KL(shares of the modes in the
    points of high quality || uniform), in nats, which is ln K if there are none.

    Even a perfect generator has only 1 - exp(-within^2 / 2) of its points there: 98.89 % at 3. Publications differ in
    radius, deviation, threshold and number of points, and their tables with them. Of more than 10,000 points, 10,000
    are looked at.
    """

    reads = (Reservoir,)
    values = {"modes": True, "quarter_modes": True, "high_quality": True, "reverse_kl": False}
    of_features = False

    def __init__(self, within: float = 3.0):
        if within <= 0:
            raise ConfigError(f"metrics.scores.modes.within={within}: must be positive (standard deviations)")
        self.within = within
        self.means: list[list[float]] = []
        self.std = 0.0

    def bind(self, data: ImageData, extractor: Extractor) -> None:
        """Learns the means and the standard deviation. Raises ConfigError if `data` has none."""
        if not hasattr(data, "means") or not hasattr(data, "std"):
            raise ConfigError("metrics.scores.modes counts the modes of a mixture of Gaussians: choose "
                              "data=gaussians_ring or data=gaussians_grid, or metrics.scores.modes=null")
        self.means, self.std = torch.as_tensor(data.means).tolist(), float(data.std)

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        return self._numbers(fake[Reservoir].features())

    def floor(self, half: Collected, other: Collected, n_fake: int) -> dict[str, float]:
        """The numbers of `n_fake` real points (of a half, if it has fewer): more points find more modes."""
        return self._numbers(half[Reservoir].features()[:n_fake])

    def _numbers(self, points: Tensor) -> dict[str, float]:
        counts = self.counts(points)
        fair_share = len(points) / len(counts)
        return {"modes": float((counts > 0).sum()), "quarter_modes": float((counts >= fair_share / 4).sum()),
                "high_quality": float(counts.sum() / len(points)), "reverse_kl": kl_to_uniform(counts)}

    def counts(self, points: Tensor) -> Tensor:
        """Points (n, 2) -> points of high quality at each mean, (K,) float64."""
        means = torch.tensor(self.means, dtype=torch.float64, device=points.device)
        squares = (points.double()[:, None] - means).square().sum(2)  # not by a product: the ring is 0.01 wide
        square, nearest = squares.min(1)
        return torch.bincount(nearest[square < (self.within * self.std) ** 2], minlength=len(means)).double()


def kl_to_uniform(counts: Tensor) -> float:
    """KL(counts / sum || uniform) in nats, counts (K,): between 0 and ln K, which it is for no counts at all too."""
    total = float(counts.sum())
    if not total:
        return math.log(len(counts))
    share = counts.double() / total
    return max(math.log(len(counts)) + float(torch.xlogy(share, share).sum()), 0.0)
