"""Changes of colour."""

from math import pi, sqrt

import torch
from torch import Tensor

from gan_lightning.augment.transform import Transform
from gan_lightning.errors import ConfigError


class Colour(Transform):
    """Brightness, contrast, luma flip, hue and saturation, as one affine map of each pixel (Karras et al. 2020,
    app. B.1).

    For any number of channels, luma being the direction in which all are equal: a grey image, of which luma is all,
    has no saturation to change. Hue is for three channels.

    Args:
        brightness: std of what is added.
        contrast: std of log2 of the factor.
        luma_flip: whether light and dark are exchanged, with even chances. Too much where ink is always dark.
        hue: whether colours are turned about grey by U(-pi, pi).
        saturation: std of log2 of the factor.
        chance: the probability, as a multiple of p.
    """

    def __init__(self, brightness: float = 0.2, contrast: float = 0.5, luma_flip: bool = True, hue: bool = True,
                 saturation: float = 1.0, chance: float = 1.0):
        super().__init__(chance)
        for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if value < 0:
                raise ConfigError(f"augment.transforms.colour.{name}={value}: must be at least 0")
        self.brightness, self.contrast, self.luma_flip = brightness, contrast, luma_flip
        self.hue, self.saturation = hue, saturation

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        draw, channels = self.draw(x, p), x.shape[1]
        one = x.new_ones(len(x))
        added = draw.where(draw.normal(self.brightness), 0.0) if self.brightness else 0 * one
        factor = draw.where(draw.octaves(self.contrast), 1.0) if self.contrast else one
        sign = draw.where(1.0 - 2 * draw.integers(2).to(x.dtype), 1.0) if self.luma_flip else one
        angle = draw.where(draw.uniform(-pi, pi), 0.0) if self.hue and channels == 3 else 0 * one
        chroma = draw.where(draw.octaves(self.saturation), 1.0) if self.saturation and channels > 1 else one
        return draw.chosen(recoloured(x, added, factor, sign, angle, chroma))


def recoloured(x: Tensor, added: Tensor, factor: Tensor, sign: Tensor, angle: Tensor, chroma: Tensor) -> Tensor:
    """x (N, C, H, W); the others (N,). In this order: `added` to all channels, all times `factor`, the luma times
    `sign`, the rest turned by `angle` (if C = 3) and times `chroma`."""
    channels = x.shape[1]
    luma = x.new_full((channels, channels), 1 / channels)  # v v^T with v = (1, ..., 1) / sqrt(C)
    rest = torch.eye(channels, dtype=x.dtype, device=x.device) - luma
    factor, sign, angle, chroma = (value[:, None, None] for value in (factor, sign, angle, chroma))
    turned = rest * angle.cos() + _across(x) * angle.sin() if channels == 3 else rest
    matrix = factor * (sign * luma + chroma * turned)  # (N, C, C)
    shift = added[:, None, None] * matrix.sum(2, keepdim=True)  # of what was added before all else
    return (matrix @ x.flatten(2) + shift).view(x.shape)


def _across(like: Tensor) -> Tensor:
    """The cross product with v = (1, 1, 1) / sqrt(3), as a matrix."""
    eye = torch.eye(3, dtype=like.dtype, device=like.device)
    return (eye.roll(1, 0) - eye.roll(-1, 0)) / sqrt(3)
