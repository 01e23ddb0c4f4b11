"""Blurred images at first."""

import torch
from torch import Tensor

from gan_lightning.augment.base import Augment, check_images
from gan_lightning.augment.separable import along_both, blurring
from gan_lightning.errors import ConfigError


class BlurFade(Augment):
    """A Gaussian blur that fades: at first D cannot look at details, which G would draw before all else (Karras et al.
    2021, StyleGAN3, arXiv:2106.12423).

    Args:
        sigma: its standard deviation at the start, in pixels.
        kimg: thousands of reals after which it has fallen, along a straight line, to 0.

    The filter reaches 3 sigma; beyond its borders an image continues as its own mirror image.
    """

    def __init__(self, sigma: float = 10.0, kimg: float = 200.0):
        super().__init__()
        if sigma < 0:
            raise ConfigError(f"augment.sigma={sigma}: must be at least 0")
        if kimg <= 0:
            raise ConfigError(f"augment.kimg={kimg}: must be above 0")
        self.sigma, self.kimg = sigma, kimg
        self.set_nimg(0)

    def set_nimg(self, nimg: int) -> None:
        self._now = self.sigma * max(1 - nimg / (1000 * self.kimg), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, "blur_fade")
        reach = int(3 * self._now)
        if not reach:
            return x
        offset = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
        taps = (-(offset / self._now).square() / 2).exp()
        taps = taps / taps.sum()
        return along_both(x, *(blurring(taps, size) for size in x.shape[2:]))
