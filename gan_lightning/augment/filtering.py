"""Changes of how strong details of each size are."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning.augment.separable import along_both, blurring
from gan_lightning.augment.transform import Transform
from gan_lightning.errors import ConfigError

HALF_BAND = (-1 / 32, 0.0, 9 / 32, 1 / 2, 9 / 32, 0.0, -1 / 32)
"""The wavelet sym2's filter, applied there and back: passes the lower half of all frequencies."""

BANDS = 4
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""What share of an image's power each band is taken to have."""


class Filtering(Transform):
    """Each of four bands of frequencies, up to 1/8, 1/4, 1/2 and all of the highest one, is made stronger or weaker,
    and all of them then such that the image keeps its power (Karras et al. 2020, app. B.1, "image-space filtering");
    rows and columns alike. The paper found that it does not help on most data.

    Args:
        strength: std of log2 of a band's factor.
        chance: the probability, as a multiple of p.
    """

    def __init__(self, strength: float = 1.0, chance: float = 1.0):
        super().__init__(chance)
        if strength < 0:
            raise ConfigError(f"augment.transforms.filtering.strength={strength}: must be at least 0")
        self.strength = strength

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        draw = self.draw(x, p)
        gains = x.new_ones(len(x), BANDS)
        for band in range(BANDS):
            gains = gains * balanced(draw.where(draw.octaves(self.strength), 1.0), band)
        return draw.chosen(filtered(x, gains))


def balanced(factor: Tensor, band: int) -> Tensor:
    """The factors of all bands (N, BANDS) if one of them is made `factor` (N,) times as strong, and power kept."""
    others = torch.ones_like(factor)
    power = 1 + POWER[band] * (factor.square() - 1)
    return torch.stack([factor if i == band else others for i in range(BANDS)], -1) / power.sqrt()[:, None]


def filtered(x: Tensor, gains: Tensor) -> Tensor:
    """x (N, C, H, W) with its bands times `gains` (N, BANDS), along rows and along columns."""
    rows, columns = [torch.einsum("nb,bij->nij", gains, _bands(size, x.dtype, x.device))[:, None]
                     for size in x.shape[2:]]
    return along_both(x, rows, columns)


@lru_cache(maxsize=8)
def _bands(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrices (BANDS, size, size) whose sum is the identity; the lowest band first."""
    with torch.inference_mode(False):  # else a first call there would spoil them for training
        matrices = torch.stack([blurring(taps, size) for taps in band_taps()])
        return matrices.to(device, dtype)


def band_taps() -> Tensor:
    """(BANDS, 43), float64: what is below each halving of the frequencies, less what is below the next one."""
    half = torch.tensor(HALF_BAND, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    below = [one]  # everything; then half, a quarter, an eighth of the frequencies
    for k in range(BANDS - 1):
        spread = torch.zeros(6 * 2**k + 1, dtype=torch.float64)
        spread[::2**k] = half
        below.append(_convolved(below[-1], spread))
    width = len(below[-1])
    below = [F.pad(taps, [(width - len(taps)) // 2] * 2) for taps in below]
    return torch.stack([below[-1], *(below[k] - below[k + 1] for k in reversed(range(BANDS - 1)))])


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]
