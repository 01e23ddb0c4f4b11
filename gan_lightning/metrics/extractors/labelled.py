"""Labelled images, read into memory to train and test a classifier on."""

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from gan_lightning.data.sources import Source
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.classifier_network import LARGEST, shrink
from gan_lightning.randomness import mix

MOST_IMAGES = 60_000          # that are read of a set; more would not fit into the training's bounded time
HELD_OUT = 0.1


class Labelled(NamedTuple):
    """Images uint8 (n, C, h, w) of at most 64 px, labels int64 (n,), and the hash of both as they were read."""

    images: Tensor
    label: Tensor
    hash: str

    def split(self, seed: int) -> tuple[Tensor, Tensor]:
        """Indices to train on and to test on: a tenth of each class, drawn by `seed`, at least one of two images."""
        random, held_out = torch.Generator().manual_seed(mix(seed, 2)), []
        for value in self.label.unique(sorted=True):
            members = (self.label == value).nonzero()[:, 0]
            count = max(round(HELD_OUT * len(members)), min(1, len(members) - 1))
            held_out.append(members[torch.randperm(len(members), generator=random)[:count]])
        test = torch.zeros(len(self.label), dtype=torch.bool)
        test[torch.cat(held_out)] = True
        return (~test).nonzero()[:, 0], test.nonzero()[:, 0]


def read(source: Source, seed: int = 0, block: int = 256) -> Labelled:
    """All images of `source`, or 60,000 of them drawn by `seed`. Raises ConfigError if they have no labels."""
    chosen = torch.arange(len(source))
    if len(source) > MOST_IMAGES:
        random = torch.Generator().manual_seed(mix(seed, 3))
        chosen = torch.randperm(len(source), generator=random)[:MOST_IMAGES].sort().values
    images, labels, content = [], [], hashlib.sha256()
    for indices in chosen.split(block):
        batch = source.take(indices)
        if "label" not in batch:
            raise without_labels()
        real, label = batch["real"].cpu().contiguous(), batch["label"].cpu().long()
        content.update(repr(tuple(real.shape)).encode() + real.numpy().tobytes() + label.numpy().tobytes())
        images.append(shrink(real).round().to(torch.uint8) if real.shape[-1] > LARGEST else real)
        labels.append(label)
    return Labelled(torch.cat(images), torch.cat(labels), content.hexdigest())


def without_labels() -> ConfigError:
    return ConfigError("this set has no labels (data.num_classes=0), and a classifier learns from labels: choose "
                       "metrics=random_conv or metrics=fid_is")
