"""Layers with an equalised learning rate: Karras et al. 2018, arXiv:1710.10196, sec. 4.1."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.resampling import upsample_conv
from gan_lightning.precision import at_least_float32


class EqualLinear(nn.Module):
    """Dense layer, (N, I) -> (N, O), whose weights are N(0, 1) and multiplied by gain / sqrt(I) when they are used.

    Adam's steps do not depend on a gradient's size, so each weight now moves at the same pace relative to its own
    scale. Values are those of a layer with weights N(0, gain^2 / I).

    Args:
        gain: sqrt(2) before a (leaky) ReLU (He et al. 2015), 1 where nothing or a normalisation follows.
        lr: how fast this layer learns beside the others; values at the start do not depend on it (Karras et al. 2019,
            arXiv:1812.04948, app. C: 0.01 for the mapping network).
    """

    skip_init = True    # the run-time factor is made for N(0, 1)

    def __init__(self, in_features: int, out_features: int, bias: bool = True, gain: float = 1.0, lr: float = 1.0,
                 bias_init: float = 0.0):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.scale, self.lr = gain * lr / math.sqrt(in_features), lr
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.bias is None or self.lr == 1 else self.bias * self.lr
        return F.linear(x, self.weight * self.scale, bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, lr={self.lr}"


class _Scaled(NamedTuple):
    """What `resampling` reads of a convolution."""

    weight: Tensor
    bias: Tensor | None
    padding: int


class EqualConv2d(nn.Module):
    """Convolution, (N, I, H, W) -> (N, O, H', W'), with weights as in `EqualLinear`: factor gain / sqrt(I k^2).

    Args:
        padding: None keeps sizes (of odd kernels, at stride 1).
    """

    skip_init = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1,
                 padding: int | None = None, bias: bool = True, gain: float = 1.0):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = kernel_size, stride
        self.padding = kernel_size // 2 if padding is None else padding
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)

    def upsampled(self, x: Tensor) -> Tensor:
        """The convolution of `x` after nearest-neighbour upsampling: (N, I, H, W) -> (N, O, 2H, 2W)."""
        return upsample_conv(_Scaled(self.weight * self.scale, self.bias, self.padding), x)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, stride={self.stride}"


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """x / sqrt(mean of x^2 over channels), along dimension 1 (Karras et al. 2018, sec. 4.2). Taken in float32."""
    with torch.autocast(x.device.type, enabled=False):
        wide = at_least_float32(x)
        return (wide * (wide.square().mean(1, keepdim=True) + eps).rsqrt()).to(x.dtype)
