"""The classifier of single digits, looking at each channel of a stack of three."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.data.stacked import BASE_CLASSES, CHANNELS, Stacked
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract, exact
from gan_lightning.metrics.extractors.classifier import Classifier, learn
from gan_lightning.metrics.extractors.classifier_network import FEATURES, SMALLEST
from gan_lightning.metrics.extractors.labelled import read

BLOCK = 256


class StackedClassifier(Classifier):
    """Trained on the single digits of `data.base`; features (b, 192) and logits (b, 30) are those of the channels.

    The 30 logits are three times ten, for `stacked_modes`; no single softmax may be taken over them.
    """

    name = "stacked_classifier"
    reads: list[int]
    """How often it reads 0 to 9 among the digits that it was not trained on."""

    dim = CHANNELS * FEATURES
    logits = 0  # classes of one softmax, which there is not

    def check(self, channels: int, resolution: int) -> None:
        if channels != CHANNELS or resolution < SMALLEST:
            raise ConfigError(f"stacked_classifier reads stacks of {CHANNELS} digits of at least {SMALLEST} px, not "
                              f"{channels} channels of {resolution} px: choose data=stacked, or data.base.resolution="
                              f"{SMALLEST} or more")

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        if not isinstance(data, Stacked):
            raise ConfigError("metrics/extractor=stacked_classifier reads stacks of three digits: choose data=stacked, "
                              "or metrics/extractor=classifier")
        self.check(data.channels, data.resolution)
        digits = read(data.base.source("train"), self.seed)
        self._learned = learn(digits, BASE_CLASSES, self.seed, cache, device)
        self._refuse_below_bar()
        held_out = digits.images[digits.split(self.seed)[1]]
        with super().loaded(device) as single, exact(device):
            said = torch.cat([single(part.to(device))[1].argmax(1) for part in held_out.split(BLOCK)])
        self.reads = torch.bincount(said, minlength=BASE_CLASSES).tolist()

    def state(self) -> dict[str, Any]:
        return super().state() | {"reads": self.reads}

    def adopt(self, state: dict[str, Any]) -> None:
        self.reads = state["reads"]
        super().adopt({name: value for name, value in state.items() if name != "reads"})

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        with super().loaded(device) as single:
            def extract(images: Tensor) -> tuple[Tensor, Tensor]:
                features, logits = single(images.flatten(0, 1)[:, None])
                return features.unflatten(0, (-1, CHANNELS)).flatten(1), logits.unflatten(0, (-1, CHANNELS)).flatten(1)

            yield extract
