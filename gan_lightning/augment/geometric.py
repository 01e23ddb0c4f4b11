"""Changes of place that need pixels in between."""

from functools import lru_cache
from math import pi

import torch
from torch import Tensor

from gan_lightning.augment.sampling import sample
from gan_lightning.augment.separable import along_both, doubling, halving, mirrored
from gan_lightning.augment.transform import Draw, Transform
from gan_lightning.errors import ConfigError

SYM6 = (0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
        0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
        0.0017677118642428036, -0.007800708325034148)
"""The least asymmetric orthogonal wavelet with 6 vanishing moments (Daubechies 1992, Ten Lectures on Wavelets)."""

_MIDDLE = sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6)
_GRID_START = len(SYM6) // 2 - 1  # half pixels before the first one, which halving reads


class Geometric(Transform):
    """Scaled, turned, stretched and moved, all at once (Karras et al. 2020, app. B.1).

    As in the paper images are doubled with the wavelet filter sym6, read bilinearly and halved with the same filter,
    which is orthogonal: doubling and halving alone change nothing. Unlike there, they continue as mirror images without
    end, where the paper pads once; and half pixels lie where the mean of the filter's taps is, not their middle.

    Args:
        scale: std of log2 of the size.
        rotate: whether turned by U(-pi, pi), with probability p in all: before stretching, after it, or both. For
            digits and letters too much.
        stretch: std of log2 of the width, the height changing inversely.
        shift: std of the displacement, as a share of each side.
    """

    def __init__(self, scale: float = 0.2, rotate: bool = True, stretch: float = 0.2, shift: float = 0.125):
        super().__init__()
        for name, value in (("scale", scale), ("stretch", stretch), ("shift", shift)):
            if value < 0:
                raise ConfigError(f"augment.transforms.geometric.{name}={value}: must be at least 0")
        self.scale, self.rotate, self.stretch, self.shift = scale, rotate, stretch, shift

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        draw = Draw(x, p)
        one = x.new_ones(len(x))
        size = draw.where(draw.octaves(self.scale), 1.0) if self.scale else one
        before = self._angle(draw)
        width = draw.where(draw.octaves(self.stretch), 1.0) if self.stretch else one
        after = self._angle(draw)
        right = down = one * 0
        if self.shift:  # both or neither
            gate = draw.where(torch.ones_like(draw.changed), False)
            right, down = (torch.where(gate, draw.normal(self.shift) * side, 0.0) for side in (x.shape[3], x.shape[2]))
        # x is scaled first and moved last; from where a point is to where it was, all is undone in reverse.
        back = times(scaling(1 / size, 1 / size), times(rotation(-before),
                     times(scaling(1 / width, width), rotation(-after))))
        return draw.chosen(warped(x, back, right, down))

    def _angle(self, draw: Draw) -> Tensor:
        if not self.rotate:
            return draw.x.new_zeros(len(draw.x))
        each = 1 - (1 - draw.p).clamp(min=0).sqrt()  # two of which make p
        return draw.where(draw.uniform(-pi, pi), 0.0, each)


def warped(x: Tensor, back: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """The images whose point o, in pixels from the middle, is x's at `back` (o - (right, down)).

    Args:
        x: (N, C, H, W).
        back: (N, 2, 2), on columns (x, y).
        right, down: (N,), in pixels.
    """
    height, width = x.shape[2:]
    across = _half_pixels(width, x) - right[:, None, None]  # (N, 1, W')
    along = _half_pixels(height, x)[:, None] - down[:, None, None]  # (N, H', 1)
    # Written out: a matrix product may be rounded to TF32, which is too coarse for coordinates.
    (a, b), (c, d) = ((entry[:, None, None] for entry in row.unbind(-1)) for row in back.unbind(-2))
    grid = torch.stack([_normalised(a * across + b * along, width), _normalised(c * across + d * along, height)], -1)
    up, down_again = zip(*(_filters(size, x.dtype, x.device) for size in (height, width)), strict=True)
    return along_both(sample(along_both(x, *up), grid), *down_again)


def scaling(across: Tensor, along: Tensor) -> Tensor:
    """(N,) factors -> (N, 2, 2)."""
    return torch.diag_embed(torch.stack([across, along], -1))


def rotation(angle: Tensor) -> Tensor:
    """(N,) -> (N, 2, 2): from x towards y, which is clockwise as y points down."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)


def times(a: Tensor, b: Tensor) -> Tensor:
    """a b for matrices (N, 2, 2), not rounded to TF32."""
    return (a[..., None] * b[:, None]).sum(2)


def _half_pixels(size: int, like: Tensor) -> Tensor:
    """Where those lie that halving reads, in pixels from the middle of the image."""
    half = torch.arange(2 * size + len(SYM6) - 2, device=like.device, dtype=like.dtype) - _GRID_START
    return _to_pixels(half) - (size - 1) / 2


def _to_pixels(half: Tensor) -> Tensor:
    # Doubling moves a smooth image by what the mean of its taps is off.
    return (half - (_MIDDLE - _GRID_START)) / 2


def _normalised(place: Tensor, size: int) -> Tensor:
    """Pixels from the middle -> coordinates in the doubled image as `sample` takes them."""
    half = 2 * mirrored(place + (size - 1) / 2, size) + (_MIDDLE - _GRID_START)
    return (2 * half + 1) / (2 * size) - 1


@lru_cache(maxsize=8)
def _filters(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # else a first call there would spoil them for training
        gain = 2**0.5
        up, down = doubling([tap * gain for tap in SYM6], size), halving([tap / gain for tap in SYM6], size)
        return up.to(device, dtype), down.to(device, dtype)
