"""The handwritten digits that come with scikit-learn: no download, 1,797 images of 8 x 8."""

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.sources import Source
from gan_lightning.errors import ConfigError


class Digits(ImageData):
    """UCI optical digits (Alpaydin & Kaynak 1998, test part), 10 classes, grey; 0..16 becomes 0..255.

    Resolutions other than 8 are made by antialiased bilinear resizing: bicubic rings around coarse strokes.
    holdout: the fraction of each class that is kept from the train split and makes the test split. By default
        all images are trained on, and there is no test split.
    """

    CLASSES = 10

    def __init__(self, holdout: float = 0.0, **loading) -> None:
        super().__init__(**loading)
        if not 0.0 <= holdout < 1.0:
            raise ConfigError(f"data.holdout={holdout}: must be at least 0 and below 1")
        self.holdout = holdout

    def load(self, split: Split) -> Source:
        from sklearn.datasets import load_digits  # takes a second to import

        digits = load_digits()
        chosen = self._choose(digits.target, split)
        images = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))[:, None]
        label = torch.from_numpy(digits.target.astype(np.int64))
        return self.hold(images[chosen], self.labels(label[chosen], self.CLASSES), mode="bilinear")

    def _choose(self, target: np.ndarray, split: Split) -> Tensor:
        """The images of a split: of each class, the same random fraction `holdout` is for the test."""
        if split == "test" and not self.holdout:
            raise ConfigError("data.split=test: digits has a test split only with data.holdout, e.g. 0.2")
        test = np.zeros(len(target), dtype=bool)
        random = np.random.default_rng(0)
        for label in range(self.CLASSES):
            members = random.permutation(np.flatnonzero(target == label))
            test[members[:round(self.holdout * len(members))]] = True
        return torch.from_numpy(test if split == "test" else ~test)
