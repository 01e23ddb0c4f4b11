"""Features of a small classifier, trained on the very set that is generated: what sees missing classes."""

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract, Extractor, exact
from gan_lightning.metrics.extractors.classifier_network import (
    FEATURES,
    RECIPE,
    SMALLEST,
    Network,
    accuracy,
    build,
    train,
)
from gan_lightning.metrics.extractors.labelled import Labelled, read, without_labels
from gan_lightning.randomness import check_seed

log = logging.getLogger("gan_lightning")


class Learned(NamedTuple):
    """A trained network in plain containers. `shape`: resolution, channels, classes. `data`: hash of the images."""

    shape: tuple[int, int, int]
    weights: dict[str, Tensor]
    accuracy: float
    data: str

    def network(self, device: torch.device) -> Network:
        network = build(*self.shape)
        network.load_state_dict(self.weights)
        return network.to(device).eval().requires_grad_(False)

    def weights_hash(self) -> str:
        """sha256 of names, shapes and bytes: another torch release may train another network."""
        content = hashlib.sha256()
        for name, weight in sorted(self.weights.items()):
            content.update(f"{name}{tuple(weight.shape)}".encode() + weight.numpy().tobytes())
        return content.hexdigest()


def learn(found: Labelled, classes: int, seed: int, cache: Cache, device: torch.device) -> Learned:
    """The classifier of these images: from the cache, or trained on nine tenths of them and tested on the rest."""
    resolution, channels = found.images.shape[-1], found.images.shape[1]
    if found.images.shape[-2] != resolution:
        raise ConfigError(f"the classifier looks at square images, not at {resolution} x {found.images.shape[-2]}: "
                          "choose metrics=random_conv, or resolution=N to crop and resize the images of two folders")
    fields = {"kind": "classifier", "recipe": RECIPE, "data": found.hash, "classes": classes, "seed": seed}
    shape = (resolution, channels, classes)
    cached = cache.get(fields)
    if cached is not None:
        reached = cached.pop("accuracy").item()
        log.info("classifier of %d classes, trained on these images before: %.1f %% of those held out right",
                 classes, 100 * reached)
        return Learned(shape, {name: torch.from_numpy(array) for name, array in cached.items()}, reached, found.hash)
    train_on, test_on = found.split(seed)
    began = time.perf_counter()
    network = train(found.images[train_on], found.label[train_on], classes, seed, device)
    seconds = time.perf_counter() - began
    reached = accuracy(network, found.images[test_on], found.label[test_on])
    log.info("classifier of %d classes trained on %s images in %.1f s: %.1f %% of %s held-out images right", classes,
             f"{len(train_on):,}", seconds, 100 * reached, f"{len(test_on):,}")
    weights = {name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()}
    cache.put(fields, {name: weight.numpy() for name, weight in weights.items()} | {"accuracy": np.float64(reached)})
    return Learned(shape, weights, reached, found.hash)


class Classifier(Extractor):
    """64 features and the logits of a classifier trained on the real training split (see `classifier_network`).

    Needs labels; 1 or 3 channels; 8 px or more, of which it looks at 64 at most. Trained once per set, then cached.
    Training sees at most 100,000 images, so a set that it cannot learn costs minutes at worst on one CPU core.

    min_accuracy: share of held-out images to be right about, else ConfigError. A classifier that cannot tell the
        classes apart cannot tell which of them are missing.
    seed: of the training.
    """

    name = "classifier"
    dim = FEATURES

    def __init__(self, min_accuracy: float = 0.85, seed: int = 0):
        if not 0 <= min_accuracy <= 1:
            raise ConfigError(f"metrics.extractor.min_accuracy={min_accuracy}: must be from 0 to 1")
        check_seed(seed)
        self.min_accuracy, self.seed = min_accuracy, seed
        self._learned: Learned | None = None

    def check(self, channels: int, resolution: int) -> None:
        if channels not in (1, 3) or resolution < SMALLEST:
            raise ConfigError(f"the classifier looks at images of 1 or 3 channels and at least {SMALLEST} px, not "
                              f"{channels} channels and {resolution} px: choose metrics=random_conv")

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        if not data.num_classes:
            raise without_labels()
        self.check(data.channels, data.resolution)
        self._learned = learn(read(data.source("train"), self.seed), data.num_classes, self.seed, cache, device)
        self._refuse_below_bar()

    @property
    def accuracy(self) -> float:
        """Share of the held-out images that the classifier is right about."""
        return self._learned.accuracy

    @property
    def logits(self) -> int:
        return self._learned.shape[-1] if self._learned else 0

    def state(self) -> dict[str, Any]:
        return self._learned._asdict()

    def adopt(self, state: dict[str, Any]) -> None:
        self._learned = Learned(**state | {"shape": tuple(state["shape"])})

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name, "recipe": RECIPE, "layer": f"features {FEATURES}", "precision": "float32",
                "weights": self._learned.weights_hash(), "accuracy": round(self._learned.accuracy, 6),
                "trained_on": self._learned.data}

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        network = self._learned.network(device)

        def extract(images: Tensor) -> tuple[Tensor, Tensor]:
            with exact(device):
                return network(images.to(device))

        yield extract

    def _refuse_below_bar(self) -> None:
        if self.accuracy < self.min_accuracy:
            raise ConfigError(f"the classifier is right about {self.accuracy:.1%} of held-out images, less than "
                              f"metrics.extractor.min_accuracy={self.min_accuracy}: choose metrics=random_conv, or a "
                              "lower metrics.extractor.min_accuracy")
