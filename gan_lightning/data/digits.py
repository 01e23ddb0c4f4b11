"""The handwritten digits that come with scikit-learn: no download, 1,797 images of 8 x 8."""

import gzip
from importlib.util import find_spec
from pathlib import Path

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
        rows = _rows()
        chosen = self._choose(rows[:, -1], split)
        images = torch.from_numpy(np.round(rows[:, :-1] * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
        label = torch.from_numpy(rows[:, -1].astype(np.int64))
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


def _rows() -> np.ndarray:
    """(1797, 65): 64 pixels from 0 to 16, and the class. Reads scikit-learn's file; importing it all takes a second."""
    package = find_spec("sklearn")
    folder = package.submodule_search_locations[0] if package and package.submodule_search_locations else "."
    file = Path(folder, "datasets", "data", "digits.csv.gz")
    if file.exists():
        with gzip.open(file, "rt") as text:
            return np.loadtxt(text, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
