"""Convolutions joined with the pooling after them, or the upsampling before: one convolution, of 4/9 the arithmetic.

Both neighbours are linear, so a convolution that is followed by a mean over 2x2 positions, or preceded by repetition
to 2x2, is one of stride 2 whose kernel is the mean, or the sum, of the four shifted copies. The values are the same
up to rounding, and so are weights and gradients.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_pool(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`avg_pool2d(conv(x), 2)`: (N, C, H, W) -> (N, C', H/2, W/2). `conv` keeps sizes, as 3x3 does with padding 1."""
    return F.conv2d(x, _mean_of_shifts(conv.weight), conv.bias, stride=2, padding=conv.padding)


def upsample_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(interpolate(x, scale_factor=2))`, nearest: (N, C, H, W) -> (N, C', 2H, 2W). `conv` as in `conv_pool`."""
    kernel = 4 * _mean_of_shifts(conv.weight).flip(2, 3).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=conv.padding)


def _mean_of_shifts(kernel: Tensor) -> Tensor:
    """(O, I, k, k) -> (O, I, k + 1, k + 1): the mean of the kernel in each corner of a larger one of zeros."""
    return F.avg_pool2d(kernel, 2, stride=1, padding=1)
