"""Mixtures of Gaussians in the plane, on which lost modes can be counted.

The ring and the grid are those of VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018).
"""

import math

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError


class Gaussians(ImageData):
    """`n` points (n, 2) of an equal mixture with these means (K, 2) and standard deviation; label: the mode.

    They are drawn from `seed`, others for each split. Its config has resolution 1, channels 2, num_classes K.
    """

    def __init__(self, means: Tensor, std: float, n: int = 100_000, seed: int = 0, **loading) -> None:
        super().__init__(**loading)
        if (self.resolution, self.channels) != (1, 2) or self.hflip:
            raise ConfigError(f"data.resolution={self.resolution}, data.channels={self.channels}, "
                              f"data.hflip={self.hflip}: points in the plane have 1, 2 and false")
        if std <= 0 or n < 1:
            raise ConfigError(f"data.std={std}, data.n={n}: must be positive")
        self.means, self.std, self.n, self.seed = means, std, n, seed

    def load(self, split: Split) -> InMemory:
        random = torch.Generator().manual_seed(2 * self.seed + (split == "test"))
        label = torch.randint(len(self.means), (self.n,), generator=random)
        points = self.means[label] + self.std * torch.randn(self.n, 2, generator=random)
        return InMemory(points, self.labels(label, len(self.means)))


class Ring(Gaussians):
    """Means evenly on a circle, beginning at (radius, 0)."""

    def __init__(self, modes: int = 8, radius: float = 1.0, std: float = 0.01, n: int = 100_000,
                 seed: int = 0, **loading) -> None:
        angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
        means = radius * torch.stack((angle.cos(), angle.sin()), dim=1)
        super().__init__(means.float(), std, n, seed, **loading)


class Grid(Gaussians):
    """side x side means `spacing` apart, centred on the origin: by default {-4, -2, 0, 2, 4} squared."""

    def __init__(self, side: int = 5, spacing: float = 2.0, std: float = 0.05, n: int = 100_000,
                 seed: int = 0, **loading) -> None:
        ticks = (torch.arange(side) - (side - 1) / 2) * spacing
        super().__init__(torch.cartesian_prod(ticks, ticks), std, n, seed, **loading)
