"""The classifier of single digits, looking at each channel of a stack of three."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.data.stacked import BASE_CLASSES, CHANNELS, Stacked
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract
from gan_lightning.metrics.extractors.classifier import Classifier, learn
from gan_lightning.metrics.extractors.classifier_network import FEATURES, SMALLEST
from gan_lightning.metrics.extractors.labelled import read


class StackedClassifier(Classifier):
    """Trained on the single digits of `data.base`; features (b, 192) and logits (b, 30) are those of the channels.

    The 30 logits are three times ten, for `stacked_modes`; no single softmax may be taken over them.
    """

    name = "stacked_classifier"
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
        self._learned = learn(read(data.base.source("train"), self.seed), BASE_CLASSES, self.seed, cache, device)
        self._refuse_below_bar()

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        with super().loaded(device) as single:
            def extract(images: Tensor) -> tuple[Tensor, Tensor]:
                features, logits = single(images.flatten(0, 1)[:, None])
                return features.unflatten(0, (-1, CHANNELS)).flatten(1), logits.unflatten(0, (-1, CHANNELS)).flatten(1)

            yield extract
