"""Which fakes G learns from."""

from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_cat
from gan_lightning.schedules import at
from gan_lightning.terms.base import Weight


class TopK:
    """The fakes that D scores highest: G ignores its failures (Sinha et al. 2020, arXiv:2002.06224, sec. 3.1).

    They are the best of the joint batch of all devices, so one device may have more of them than another.

    Args:
        fraction: how many of the batch, in (0, 1], or a schedule of it; the paper falls from 1 to its nu.
    """

    def __init__(self, fraction: Weight = 0.5):
        if not callable(fraction) and not 0 < fraction <= 1:
            raise ConfigError(f"loss.g_selects.fraction={fraction}: must be above 0, and at most 1")
        self.fraction = fraction

    def __call__(self, fake_logits: Tensor, nimg: int) -> Tensor:
        """The best rows of (N, *), (k, *), equal on all devices; patches of a sample go together."""
        rows = joint_cat(fake_logits)
        k = round(at(self.fraction, nimg) * len(rows))
        if k >= len(rows):
            return rows
        return rows[rows.detach().flatten(1).mean(1).topk(max(k, 1)).indices]
