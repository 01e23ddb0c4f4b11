"""Noise and holes."""

import torch
from torch import Tensor

from gan_lightning.augment.squares import outside_square
from gan_lightning.augment.transform import Transform
from gan_lightning.errors import ConfigError


class Corruption(Transform):
    """Noise of a strength drawn for each image, and a square of zeros (Karras et al. 2020, app. B.1); the paper found
    that these two do not help.

    Args:
        noise: the strength is |N(0, noise^2)|; 0 for none.
        cutout: the square's side, as a share of the image's; 0 for none.
        chance: the probability, as a multiple of p.
    """

    def __init__(self, noise: float = 0.1, cutout: float = 0.5, chance: float = 1.0):
        super().__init__(chance)
        for name, value in (("noise", noise), ("cutout", cutout)):
            if value < 0:
                raise ConfigError(f"augment.transforms.corruption.{name}={value}: must be at least 0")
        self.noise, self.cutout = noise, cutout

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        draw, changed = self.draw(x, p), x
        if self.noise:
            strength = draw.where(draw.normal(self.noise).abs(), 0.0)
            changed = changed + strength[:, None, None, None] * torch.randn_like(x)
        if self.cutout:
            hole = draw.where(torch.ones_like(draw.changed), False)[:, None, None, None]
            changed = changed * (outside_square(x, self.cutout) | ~hole)
        return draw.chosen(changed)
