"""Changes that move whole pixels."""

import torch
from torch import Tensor

from gan_lightning.augment.affine import Affine, scaling, times, turning, undoing
from gan_lightning.augment.placing import Placing
from gan_lightning.augment.transform import Draw
from gan_lightning.errors import ConfigError


class Blit(Placing):
    """Mirrored left to right, turned by quarters and moved by whole pixels (Karras et al. 2020, app. B.1).

    Pixels are copied, not filtered. Beyond its borders an image continues as its own mirror image.

    Args:
        flip: mirrored or not, with even chances.
        rotate90: by 0, 1, 2 or 3 quarters, with even chances. Turns a 6 into a 9: not for digits.
        shift: U(-shift, shift) of each side, rounded to pixels; 0 leaves it.
        chance: the probability, as a multiple of p.
    """

    whole = True

    def __init__(self, flip: bool = True, rotate90: bool = True, shift: float = 0.125, chance: float = 1.0):
        super().__init__(chance)
        if shift < 0:
            raise ConfigError(f"augment.transforms.blit.shift={shift}: must be at least 0")
        self.flip, self.rotate90, self.shift = flip, rotate90, shift

    def back(self, draw: Draw) -> Affine:
        height, width = draw.x.shape[2:]
        if self.rotate90 and height != width:
            raise ConfigError(f"augment.transforms.blit.rotate90=true: only square images can be turned by quarters, "
                              f"not those of {width} x {height}; set it to false")
        none = draw.x.new_zeros(len(draw.x))
        flip = draw.where(draw.integers(2), 0).to(none.dtype) if self.flip else none
        turns = draw.where(draw.integers(4), 0).to(none.dtype) if self.rotate90 else none
        right = down = none
        if self.shift:  # both or neither
            moved = draw.falls()
            right, down = (torch.where(moved, (draw.uniform(-self.shift, self.shift) * size).round(), 0.0)
                           for size in (width, height))
        return blitting(flip, turns, right, down)


def blitting(flip: Tensor, turns: Tensor, right: Tensor, down: Tensor) -> Affine:
    """Back from (N,) each: mirrored left to right, then turned by quarters counter-clockwise, then moved."""
    odd = turns.remainder(2)
    quarter = turning((1 - turns) * (1 - odd), (2 - turns) * odd)  # whole numbers, and so without rounding
    return undoing(times(scaling(1 - 2 * flip, torch.ones_like(flip)), quarter), right, down)
