"""Twice and half the size through a low-pass filter, as in StyleGAN2: Karras et al. 2020, arXiv:1912.04958, sec. 4.

Plain resampling by 2 leaves copies of the spectrum behind (Zhang 2019, arXiv:1904.11486); the binomial filter
[1, 3, 3, 1] in both directions takes them away. Beyond its border an image is zero.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (1.0, 3.0, 3.0, 1.0)


class _Filter(nn.Module):
    """Depthwise 4 x 4 kernel; it is symmetric, so that convolution and correlation are the same."""

    def __init__(self, total: float = 1.0):
        super().__init__()
        taps = torch.tensor(TAPS) / sum(TAPS)
        self.register_buffer("kernel", total * taps[:, None] * taps, persistent=False)

    def kernels(self, x: Tensor) -> Tensor:
        """One for each channel of `x`: (C, 1, 4, 4)."""
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class Upsample(_Filter):
    """(N, C, H, W) -> (N, C, 2H, 2W): zeros between the pixels, then the filter at gain 4."""

    def __init__(self):
        super().__init__(total=4.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernels(x), stride=2, padding=1, groups=x.shape[1])


class Downsample(_Filter):
    """(N, C, H, W) -> (N, C, H/2, W/2): the filter, then every other pixel. A fourth of the adjoint of `Upsample`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels(x), stride=2, padding=1, groups=x.shape[1])


class Blur(_Filter):
    """(N, C, H, W) -> (N, C, H + 2 padding - 3, W + 2 padding - 3): the filter alone.

    Args:
        total: what the filter sums to; 4 after zeros were put between pixels.
    """

    def __init__(self, padding: int, total: float = 1.0):
        super().__init__(total)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels(x), padding=self.padding, groups=x.shape[1])
