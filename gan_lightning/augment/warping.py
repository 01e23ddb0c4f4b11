"""Images read at other places; beyond its borders an image continues as its own mirror image, without end."""

from functools import lru_cache

import torch
from torch import Tensor

from gan_lightning.augment.affine import Affine
from gan_lightning.augment.sampling import sample
from gan_lightning.augment.separable import along_both, doubling, halving, mirror_period, mirrored

SYM6 = (0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
        0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
        0.0017677118642428036, -0.007800708325034148)
"""The least asymmetric orthogonal wavelet with 6 vanishing moments (Daubechies 1992, Ten Lectures on Wavelets)."""

_MIDDLE = sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6)
_GRID_START = len(SYM6) // 2 - 1  # half pixels before the first one, which halving reads


def copied(x: Tensor, back: Affine) -> Tensor:
    """x (N, C, H, W), the pixel at o being that at `back` o, or the nearest one: copies, to the last bit."""
    height, width = x.shape[2:]
    across, along = back.of(_from_middle(torch.arange(width, device=x.device, dtype=x.dtype), width),
                            _from_middle(torch.arange(height, device=x.device, dtype=x.dtype), height))
    column, row = (mirrored((place + (size - 1) / 2).round().long(), size)
                   for place, size in ((across, width), (along, height)))
    source = (row * width + column).flatten(1)
    return x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1)).view(x.shape)


def warped(x: Tensor, back: Affine) -> Tensor:
    """x (N, C, H, W) at `back` o for each pixel o: mirrored beyond its borders, doubled with the filter sym6, read
    bilinearly and halved with the same filter, which is orthogonal: doubling and halving alone change nothing.

    The filter is not symmetric, and so the doubled image is not its own mirror image: a whole period of it is made, of
    4 (size - 1) half pixels, and read round and round, which is right for changes of any size.
    """
    height, width = x.shape[2:]
    across, along = back.of(_half_pixels(width, x), _half_pixels(height, x))
    grid = torch.stack([_normalised(across, width), _normalised(along, height)], -1)
    up, down = zip(*(_filters(size, x.dtype, x.device) for size in (height, width)), strict=True)
    return along_both(sample(along_both(x, *up), grid), *down)


def _from_middle(pixel: Tensor, size: int) -> Tensor:
    return pixel - (size - 1) / 2


def _half_pixels(size: int, like: Tensor) -> Tensor:
    """Where those lie that halving reads, in pixels from the middle of the image."""
    half = torch.arange(2 * size + len(SYM6) - 2, device=like.device, dtype=like.dtype) - _GRID_START
    # Doubling moves a smooth image by what the mean of its taps is off.
    return _from_middle((half - (_MIDDLE - _GRID_START)) / 2, size)


def _normalised(place: Tensor, size: int) -> Tensor:
    """Pixels from the middle -> coordinates in the doubled image as `sample` takes them."""
    period = 2 * mirror_period(size)
    half = (2 * place + (size - 1 + _MIDDLE - _GRID_START)).remainder(period)
    return (2 * half + 1) / (period + 1) - 1


@lru_cache(maxsize=8)
def _filters(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # else a first call there would spoil them for training
        gain = 2**0.5
        up, down = doubling([tap * gain for tap in SYM6], size), halving([tap / gain for tap in SYM6], size)
        return up.to(device, dtype), down.to(device, dtype)
