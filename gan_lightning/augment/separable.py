"""Filters along columns and rows, as matrices; beyond its borders an image continues as its own mirror image.

A dense product with such a matrix costs little beside a network, works at any size (torch's reflection padding does
not reach further than one image), and torch differentiates it as often as one likes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def mirrored(index: Tensor, size: int) -> Tensor:
    """Pixels, whole or fractional, of an endless row of mirror images -> 0..size-1; border pixels are not repeated."""
    if size == 1:
        return torch.zeros_like(index)
    period = mirror_period(size)
    index = index.remainder(period)
    return torch.minimum(index, period - index)


def mirror_period(size: int) -> int:
    """Pixels after which mirror images of an image repeat themselves."""
    return max(2 * (size - 1), 1)


def blurring(taps: Tensor, size: int) -> Tensor:
    """The matrix (size, size) that convolves with `taps`, an odd number of them, the middle one at the pixel itself."""
    reach = len(taps) // 2
    pixel = torch.arange(size, device=taps.device)
    source = mirrored(pixel[:, None] + torch.arange(-reach, reach + 1, device=taps.device), size)
    return taps.new_zeros(size, size).scatter_add(1, source, taps.expand(size, -1))


def doubling(taps: Sequence[float], size: int) -> Tensor:
    """The matrix (4 size - 3, size), float64, from pixels to half pixels: zeros in between, then `taps`, evenly many.

    A whole period of the mirror images' half pixels and the first one again; of a single pixel 3.
    """
    taps = torch.tensor(taps, dtype=torch.float64)
    period = mirror_period(size)
    half = torch.arange(2 * period + 1)[:, None]
    reach = len(taps) // 2
    pixel = torch.arange(-reach, period + reach + 1)
    tap = half - 2 * pixel + reach - 1  # half pixel j lies at pixel (j - 1/2) / 2, and the taps' middle there
    weights = torch.where((tap >= 0) & (tap < len(taps)), taps[tap.clamp(0, len(taps) - 1)], 0.0)
    result = torch.zeros(2 * period + 1, size, dtype=torch.float64)
    return result.index_add_(1, mirrored(pixel, size), weights)


def halving(taps: Sequence[float], size: int) -> Tensor:
    """The matrix (size, 2 size + len(taps) - 2), float64, back from half pixels; the first is -(len(taps) / 2 - 1).

    `taps` are not turned round: this is the transpose of `doubling` far from borders.
    """
    result = torch.zeros(size, 2 * size + len(taps) - 2, dtype=torch.float64)
    for pixel in range(size):
        result[pixel, 2 * pixel:2 * pixel + len(taps)] = torch.tensor(taps, dtype=torch.float64)
    return result


def along_both(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H', W') by the matrices `rows` (H', H) and `columns` (W', W)."""
    return rows @ (x @ columns.mT)  # in this order twice as fast on CPUs
