"""Stacked digits: three random images of a grey set as the channels of one, 1,000 classes whose loss can be counted.

Metz et al. 2017 (arXiv:1611.02163), in the setting of VEEGAN (Srivastava et al. 2017, arXiv:1705.07761) and PacGAN
(Lin et al. 2018, arXiv:1712.04086): 128,000 images to train on.
"""

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.sources import Source
from gan_lightning.errors import ConfigError

CHANNELS, BASE_CLASSES = 3, 10
CLASSES = BASE_CLASSES**CHANNELS


class Stacked(ImageData):
    """`n` stacks of three images drawn from `base`, independently and evenly; label 100 a + 10 b + c.

    base: a grey set of 10 classes; the test split is drawn from its test split.
    seed: which images are stacked; each split has its own draws.
    """

    def __init__(self, base: ImageData, n: int = 128_000, seed: int = 0, **loading) -> None:
        super().__init__(**loading)
        if base.channels != 1 or base.num_classes != BASE_CLASSES:
            raise ConfigError(f"data.base.channels={base.channels}, data.base.num_classes={base.num_classes}: stacks "
                              f"are made of grey images with labels, data.base.channels=1 and {BASE_CLASSES} classes")
        if self.channels != CHANNELS or self.resolution != base.resolution:
            raise ConfigError(f"data.channels={self.channels}, data.resolution={self.resolution}: stacks of these "
                              f"images have {CHANNELS} and {base.resolution}; set data.base.resolution instead")
        if n < 1:
            raise ConfigError(f"data.n={n}: must be at least 1")
        if self.num_classes not in (0, CLASSES):
            raise ConfigError(f"data.num_classes={self.num_classes}: stacks have {CLASSES} classes; choose {CLASSES}, "
                              "or 0 for no labels")
        self.base, self.n, self.seed = base, n, seed

    def prepare(self) -> None:
        self.base.prepare()

    def load(self, split: Split) -> Source:
        random = torch.Generator().manual_seed(2 * self.seed + (split == "test"))
        base = self.base.source(split)
        parts = torch.randint(len(base), (self.n, CHANNELS), generator=random)
        return Stacks(base, parts, labelled=bool(self.num_classes))


class Stacks:
    """Stack i has images parts[i] of `base` as its channels; put together when taken. parts int64 (n, 3)."""

    def __init__(self, base: Source, parts: Tensor, labelled: bool) -> None:
        self.base, self.parts, self.labelled = base, parts, labelled

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def label(self) -> Tensor | None:
        """int64 (n,), if they are handed out."""
        return triple(self.base.label[self.parts]) if self.labelled else None

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        batch = self.base.take(self.parts[indices.cpu()].flatten())
        stacks = {"real": batch["real"].unflatten(0, (-1, CHANNELS)).squeeze(2)}
        if self.labelled:
            stacks["label"] = triple(batch["label"].unflatten(0, (-1, CHANNELS)))
        return stacks


def triple(digits: Tensor) -> Tensor:
    """Digits a, b, c of the channels, int64 (n, 3) -> the stacks' classes 100 a + 10 b + c, (n,)."""
    return (digits[:, 0] * BASE_CLASSES + digits[:, 1]) * BASE_CLASSES + digits[:, 2]
