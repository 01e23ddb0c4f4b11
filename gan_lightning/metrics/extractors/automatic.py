"""The best extractor that can be had."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract, Extractor
from gan_lightning.metrics.extractors.classifier import Classifier
from gan_lightning.metrics.extractors.download import WeightsMissing
from gan_lightning.metrics.extractors.inception import Inception
from gan_lightning.metrics.extractors.random_conv import RandomConv

log = logging.getLogger("gan_lightning")


class Automatic(Extractor):
    """Inception if its weights can be had; else the classifier if the set has labels and it learns them; else the
    random convolutions. Says which, and why not a better one; scores bear the name of the one chosen.

    weights_path, other_weights: of Inception's weights; a file that is not there is an error.
    min_accuracy, seed: of the classifier.
    """

    automatic = True

    def __init__(self, weights_path: str | None = None, other_weights: bool = False, min_accuracy: float = 0.85,
                 seed: int = 0):
        self._candidates: dict[str, Extractor] = {
            "inception": Inception(weights_path, other_weights=other_weights),
            "classifier": Classifier(min_accuracy, seed),
            "random_conv": RandomConv(),
        }
        self._chosen: str | None = None

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        reasons = []
        for name, extractor in self._candidates.items():
            reason = _cannot(name, extractor, data, cache, device)
            if reason is None:
                self._chosen = name
                log.info("%s", "; ".join([f"scores see images through {extractor.name}", *reasons]))
                return
            reasons.append(f"not {name}: {reason}")
        raise ConfigError(f"no extractor can look at these images ({'; '.join(reasons)})")

    @property
    def chosen(self) -> Extractor:
        """The one that does the work. There is none before `prepare` or `adopt`."""
        if self._chosen is None:
            raise RuntimeError("Automatic has not been prepared")
        return self._candidates[self._chosen]

    @property
    def name(self) -> str:
        return self.chosen.name

    @property
    def dim(self) -> int:
        return self.chosen.dim

    @property
    def logits(self) -> int:
        return self.chosen.logits

    @property
    def original(self) -> bool:
        return self.chosen.original

    @property
    def pretrained(self) -> bool:
        return self.chosen.pretrained

    def state(self) -> dict[str, Any]:
        return {"chosen": self._chosen, "state": self.chosen.state()}

    def adopt(self, state: dict[str, Any]) -> None:
        self._chosen = state["chosen"]
        self.chosen.adopt(state["state"])

    def check(self, channels: int, resolution: int) -> None:
        if self._chosen is not None:
            self.chosen.check(channels, resolution)

    def fingerprint(self) -> dict[str, Any]:
        return self.chosen.fingerprint()

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        with self.chosen.loaded(device) as extract:
            yield extract


def _cannot(name: str, extractor: Extractor, data: ImageData, cache: Cache, device: torch.device) -> str | None:
    """Why this extractor is out of the question for these data, or None if it is ready."""
    try:
        extractor.check(data.channels, data.resolution)
    except ConfigError as error:
        return _first_part(error)
    try:
        extractor.prepare(data, cache, device)
    except WeightsMissing:
        return "its weights are not on this machine and cannot be downloaded (metrics=fid_is says which)"
    except ConfigError as error:
        if name == "inception":  # a file was named that is not there: what the user wants is clear
            raise
        return _first_part(error)
    return None


def _first_part(error: ConfigError) -> str:
    """What is wrong, without the advice that follows after a colon."""
    return str(error).rsplit(": ", 1)[0]
