"""Features of a convolution network with fixed random weights: an alarm for textures and noise, on any images."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract, Extractor, exact

RECIPE = 1
STAGES = (16, 16, 32)         # maps of each stage, which all together are the features
SMALLEST = 4                  # px: two halvings leave one pixel
GRID = 1024                   # weights are multiples of 1/GRID, so that no machine's last bit matters


def random_weights(channels: int) -> list[np.ndarray]:
    """The written recipe: float32 (maps, maps before, 3, 3) of each stage, the same on every machine.

    Stage s draws normal numbers from `numpy.random.RandomState(1000 * RECIPE + s)`, whose stream NumPy has frozen, in
    C order; times sqrt(1 / (9 * maps before)); rounded to multiples of 1/1024.
    """
    weights, before = [], channels
    for stage, maps in enumerate(STAGES):
        drawn = np.random.RandomState(1000 * RECIPE + stage).standard_normal((maps, before, 3, 3))
        weights.append((np.round(drawn * np.sqrt(1 / (9 * before)) * GRID) / GRID).astype(np.float32))
        before = maps
    return weights


class RandomConv(Extractor):
    """64 numbers per image: the mean of every map of three random 3x3 convolutions, each followed by the modulus.

    Images are halved by averaging between the stages; edges are repeated outwards. Any number of channels, any size
    from 4 px. That untrained networks see textures and noise: Naeem et al. 2020, arXiv:2002.09797; Lee et al. 2022,
    arXiv:2208.09218. The modulus, as in a scattering transform (Bruna & Mallat 2013), saw every corruption tried on
    MNIST better than a ReLU, noise and blur many times so. A single missing class it hardly sees.
    """

    name = "random_conv"
    dim = sum(STAGES)

    def __init__(self) -> None:
        self._channels = 0

    def check(self, channels: int, resolution: int) -> None:
        if resolution < SMALLEST:
            raise ConfigError(f"random_conv looks at images of at least {SMALLEST} px, not {resolution}: choose "
                              "metrics=mixture for points in the plane, or a larger data.resolution")

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        self.check(data.channels, data.resolution)
        self._channels = data.channels

    def state(self) -> int:
        return self._channels

    def adopt(self, state: int) -> None:
        self._channels = state

    def fingerprint(self) -> dict[str, Any]:
        content = hashlib.sha256(b"".join(weight.tobytes() for weight in random_weights(self._channels)))
        return {"name": self.name, "recipe": RECIPE, "layer": f"means {self.dim}", "precision": "float32",
                "weights": content.hexdigest()}

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        weights = [torch.from_numpy(weight).to(device) for weight in random_weights(self._channels)]

        def extract(images: Tensor) -> tuple[Tensor, None]:
            with exact(device):
                return _means(images.to(device).float() / 127.5 - 1, weights), None

        yield extract


def _means(x: Tensor, weights: list[Tensor]) -> Tensor:
    """(b, C, H, W) -> (b, 64)."""
    means = []
    for stage, weight in enumerate(weights):
        x = F.avg_pool2d(x, 2) if stage else x
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight).abs()
        means.append(x.mean((2, 3)))
    return torch.cat(means, dim=1)
