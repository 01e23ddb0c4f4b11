"""Squares cut out of images (DeVries & Taylor 2017, arXiv:1708.04552), one at random in each."""

import torch
from torch import Tensor


def outside_square(x: Tensor, share: float) -> Tensor:
    """Where images x (N, C, H, W) keep their pixels, (N, 1, H, W) bool: all but a rectangle of `share` of each side.

    Its middle is anywhere in the image, so that part of it may lie outside.
    """
    n, _, height, width = x.shape
    return ~(_within(n, height, share, x)[:, None, :, None] & _within(n, width, share, x)[:, None, None, :])


def _within(n: int, size: int, share: float, like: Tensor) -> Tensor:
    length = int(size * share + 0.5)
    pixel = torch.arange(size, device=like.device)
    # All lengths cover a pixel in as many of these places, but for those that the border cuts off.
    first = torch.randint(size + 1 - length % 2, (n, 1), device=like.device) - length // 2
    return (pixel >= first) & (pixel < first + length)
