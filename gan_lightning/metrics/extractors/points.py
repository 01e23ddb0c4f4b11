"""Points in the plane as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract, Extractor


class Points(Extractor):
    """The identity on points (b, 2), for mixtures of Gaussians."""

    name = ""
    dim = 2

    def check(self, channels: int, resolution: int) -> None:
        if (channels, resolution) != (2, 1):
            raise ConfigError(f"metrics=mixture scores points in the plane, not images of {channels} channels and "
                              f"{resolution} px: choose metrics=classifier or metrics=random_conv")

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        self.check(data.channels, data.resolution)

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "points", "precision": "float32"}

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        yield lambda points: (points.to(device, torch.float32), None)
