"""Noise and holes."""

import torch
from torch import Tensor

from gan_lightning.augment.squares import outside_square
from gan_lightning.augment.transform import Draw, Transform
from gan_lightning.errors import ConfigError


class Corruption(Transform):
    """Noise of a strength drawn for each image, and a square of zeros (Karras et al. 2020, app. B.1); the paper found
    that these two do not help.

    Args:
        noise: the strength is |N(0, noise^2)|.
        cutout: the square's side, as a share of the image's.
    """

    def __init__(self, noise: float = 0.1, cutout: float = 0.5):
        super().__init__()
        for name, value in (("noise", noise), ("cutout", cutout)):
            if value < 0:
                raise ConfigError(f"augment.transforms.corruption.{name}={value}: must be at least 0")
        self.noise, self.cutout = noise, cutout

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        draw, changed = Draw(x, p), x
        if self.noise:
            strength = draw.where(draw.normal(self.noise).abs(), 0.0)
            changed = changed + strength[:, None, None, None] * torch.randn_like(x)
        if self.cutout:
            hole = draw.where(torch.ones_like(draw.changed), False)[:, None, None, None]
            changed = changed * (outside_square(x, self.cutout) | ~hole)
        return draw.chosen(changed)
