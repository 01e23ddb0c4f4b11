"""Noise on all that D sees."""

from collections.abc import Callable

import torch
from torch import Tensor

from gan_lightning.augment.base import Augment
from gan_lightning.errors import ConfigError
from gan_lightning.schedules import at


class InstanceNoise(Augment):
    """x + N(0, std^2): reals and fakes then overlap, and D cannot be right about everything (Sønderby et al. 2017,
    arXiv:1610.04490; Arjovsky & Bottou 2017, arXiv:1701.04862, sec. 3).

    Args:
        std: in units of the data; a number, or a schedule of real images seen so far (`gan_lightning.schedules`).
    """

    works_on_points = True

    def __init__(self, std: float | Callable[[int], float] = 0.1):
        super().__init__()
        self.std = std
        self.set_nimg(0)
        if self._now < 0:
            raise ConfigError(f"augment.std={std}: must be at least 0")

    def set_nimg(self, nimg: int) -> None:
        self._now = float(at(self.std, nimg))

    def forward(self, x: Tensor) -> Tensor:
        return x + self._now * torch.randn_like(x) if self._now else x
