"""Changes that move whole pixels."""

import torch
from torch import Tensor

from gan_lightning.augment.separable import mirrored
from gan_lightning.augment.transform import Draw, Transform
from gan_lightning.errors import ConfigError


class Blit(Transform):
    """Mirrored left to right, turned by quarters and moved by whole pixels (Karras et al. 2020, app. B.1).

    Pixels are copied, not filtered. Beyond its borders an image continues as its own mirror image.

    Args:
        flip: mirrored or not, with even chances.
        rotate90: by 0, 1, 2 or 3 quarters, with even chances. Turns a 6 into a 9: not for digits.
        shift: U(-shift, shift) of each side, rounded to pixels; 0 leaves it.
    """

    def __init__(self, flip: bool = True, rotate90: bool = True, shift: float = 0.125):
        super().__init__()
        if shift < 0:
            raise ConfigError(f"augment.transforms.blit.shift={shift}: must be at least 0")
        self.flip, self.rotate90, self.shift = flip, rotate90, shift

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.rotate90 and height != width:
            raise ConfigError(f"augment.transforms.blit.rotate90=true: only square images can be turned by quarters, "
                              f"not those of {width} x {height}; set it to false")
        draw = Draw(x, p)
        flip = draw.where(draw.integers(2), 0) if self.flip else 0
        turns = draw.where(draw.integers(4), 0) if self.rotate90 else 0
        right = down = 0
        if self.shift:  # both or neither
            gate = draw.where(torch.ones_like(draw.changed), False)
            right, down = (torch.where(gate, (draw.uniform(-self.shift, self.shift) * size).round(), 0.0)
                           for size in (width, height))
        return draw.chosen(moved(x, flip, turns, right, down))


def moved(x: Tensor, flip: Tensor | int, turns: Tensor | int, right: Tensor | int, down: Tensor | int) -> Tensor:
    """x (N, C, H, W), of each image (N,): mirrored left to right, then turned by quarters counter-clockwise, then
    moved to the right and down."""
    height, width = x.shape[2:]
    flip, turns, right, down = (_column(value, x.device) for value in (flip, turns, right, down))  # (N, 1, 1)
    # From where a pixel is to where it was: half pixels from the middle, which are whole numbers.
    across = 2 * (torch.arange(width, device=x.device) - right) - (width - 1)  # (N, 1, W)
    along = 2 * (torch.arange(height, device=x.device)[:, None] - down) - (height - 1)  # (N, H, 1)
    cos, sin = (1 - turns) * (1 - turns % 2), (2 - turns) * (turns % 2)
    across, along = cos * across - sin * along, sin * across + cos * along
    across = across * (1 - 2 * flip)
    column = mirrored((across + width - 1) // 2, width)
    row = mirrored((along + height - 1) // 2, height)
    source = (row * width + column).expand(len(x), -1, -1).flatten(1)
    return x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1)).view(x.shape)


def _column(value: Tensor | int, device: torch.device) -> Tensor:
    value = value if isinstance(value, Tensor) else torch.full((1,), value, device=device)  # without waiting for it
    return value.long().view(-1, 1, 1)
