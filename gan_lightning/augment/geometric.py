"""Changes of place that need pixels in between."""

from math import pi

import torch
from torch import Tensor

from gan_lightning.augment.affine import Affine, rotation, scaling, times, undoing
from gan_lightning.augment.placing import Placing
from gan_lightning.augment.transform import Draw
from gan_lightning.errors import ConfigError


class Geometric(Placing):
    """Scaled, turned, stretched and moved, all at once (Karras et al. 2020, app. B.1).

    As in the paper images continue as mirror images, are doubled with the wavelet filter sym6, read bilinearly and
    halved with the same filter. Unlike there, they continue without end, whatever is drawn; and half pixels lie where
    the mean of the filter's taps is, not their middle.

    Args:
        scale: std of log2 of the size.
        rotate: whether turned by U(-pi, pi), with the probability of the others in all: before stretching, after it,
            or both. For digits and letters too much.
        stretch: std of log2 of the width, the height changing inversely.
        shift: std of the displacement, as a share of each side.
        chance: the probability, as a multiple of p.
    """

    def __init__(self, scale: float = 0.2, rotate: bool = True, stretch: float = 0.2, shift: float = 0.125,
                 chance: float = 1.0):
        super().__init__(chance)
        for name, value in (("scale", scale), ("stretch", stretch), ("shift", shift)):
            if value < 0:
                raise ConfigError(f"augment.transforms.geometric.{name}={value}: must be at least 0")
        self.scale, self.rotate, self.stretch, self.shift = scale, rotate, stretch, shift

    def back(self, draw: Draw) -> Affine:
        x = draw.x
        one = x.new_ones(len(x))
        size = draw.where(draw.octaves(self.scale), 1.0) if self.scale else one
        before = self._angle(draw)
        width = draw.where(draw.octaves(self.stretch), 1.0) if self.stretch else one
        after = self._angle(draw)
        right = down = one * 0
        if self.shift:  # both or neither
            moved = draw.falls()
            right, down = (torch.where(moved, draw.normal(self.shift) * side, 0.0) for side in (x.shape[3], x.shape[2]))
        # x is scaled first and moved last; from where a point is to where it was, all is undone in reverse.
        matrix = times(scaling(1 / size, 1 / size), times(rotation(-before),
                       times(scaling(1 / width, width), rotation(-after))))
        return undoing(matrix, right, down)

    def _angle(self, draw: Draw) -> Tensor:
        if not self.rotate:
            return draw.x.new_zeros(len(draw.x))
        each = 1 - (1 - draw.p).clamp(min=0).sqrt()  # two of which make p
        return draw.where(draw.uniform(-pi, pi), 0.0, each)
