"""From the samples of shards to pixels and labels."""

import logging
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from PIL import Image

from gan_lightning.data.decoded import FileKind, OnError, attempt, damaged
from gan_lightning.data.images import decode
from gan_lightning.data.inspect import LOSSY, lossy_webp
from gan_lightning.data.shard_order import Piece
from gan_lightning.data.shards import THREADS, Reader, Sample, Shards
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError, DataError

log = logging.getLogger("gan_lightning")
RUN = 64                                                # neighbours that are read together for a reference


class Decoder:
    """Decodes samples. num_classes: 0 hands out no labels. on_error: as for `Folder`."""

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, on_error: OnError = "raise") -> None:
        self.resolution, self.channels, self.num_classes, self.on_error = resolution, channels, num_classes, on_error
        self.replaced: set[str] = set()                 # names of those for which another stood in

    def first(self, samples: Iterable[Sample]) -> tuple[np.ndarray, int | None]:
        """The first of `samples`, with on_error=skip the first that can be read: pixels, uint8 (C, H, W), and label."""
        sample = None
        for sample in samples:
            pixels, reason = attempt(sample.open, self.pixels)
            if not reason:
                return pixels, self.label(sample)
            if self.on_error == "raise":
                raise damaged(sample.name, reason)
            if sample.name not in self.replaced:
                self.replaced.add(sample.name)
                log.warning("%s cannot be read (%s); another image stands in", sample.name, reason)
        raise DataError(f"{sample.name}: neither it nor those around it can be read as images")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.channels, self.resolution, self.resolution

    def pixels(self, image: Image.Image) -> np.ndarray:
        return decode(image, self.resolution, self.channels)

    def label(self, sample: Sample) -> int | None:
        if not self.num_classes:
            return None
        if sample.label is None:
            raise DataError(f"{sample.name} has no label, but data.num_classes={self.num_classes}; add it, or choose "
                            "data.num_classes=0")
        if not 0 <= sample.label < self.num_classes:
            raise ConfigError(f"data.num_classes={self.num_classes}: {sample.name} has label {sample.label}; labels "
                              "run from 0 to num_classes - 1")
        return sample.label


@dataclass
class Examined:
    """What was found in the files of a reference. names: of those in it, in order; kinds: how many there are of each;
    unreadable: name -> reason, of those left out."""

    names: list[str] = field(default_factory=list)
    kinds: Counter[FileKind] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    on_error: OnError = "raise"
    replaced: dict[int, str] = field(default_factory=dict)  # nothing stands in for an image of a reference


def read_reference(shards: Shards, decoder: Decoder, most: int) -> tuple[InMemory, Examined]:
    """At most `most` images from all over the set, decoded, and what their files are like."""
    pieces, found, labels = spread(shards, most), Examined(on_error=decoder.on_error), []
    real = np.empty((sum(piece.count for piece in pieces), *decoder.shape), dtype=np.uint8)

    def read(piece: Piece) -> list[tuple[Sample, tuple[FileKind, np.ndarray] | None, str]]:
        with closing(Reader(shards)) as reader:
            return [(sample._replace(image=b""), *_look(sample, decoder)) for sample in reader.stream(piece)]

    with ThreadPoolExecutor(THREADS) as pool:
        for sample, result, reason in chain.from_iterable(pool.map(read, pieces)):
            if reason and decoder.on_error == "raise":
                raise damaged(sample.name, reason)
            if reason:
                found.unreadable[sample.name] = reason
                continue
            kind, real[len(labels)] = result
            found.names.append(sample.name)
            found.kinds[kind] += 1
            labels.append(decoder.label(sample))
    if not labels:
        raise DataError(f"none of {len(real):,} images can be read, e.g. {next(iter(found.unreadable))}")
    label = torch.tensor(labels) if decoder.num_classes else None
    return InMemory(torch.from_numpy(real[:len(labels)]), label), found


def _look(sample: Sample, decoder: Decoder) -> tuple[tuple[FileKind, np.ndarray] | None, str]:
    def use(image: Image.Image) -> tuple[FileKind, np.ndarray]:
        lossy = lossy_webp(sample.open()) if image.format == "WEBP" else image.format in LOSSY
        return FileKind(*image.size, image.mode, image.format, lossy), decoder.pixels(image)
    return attempt(sample.open, use)


def spread(shards: Shards, most: int) -> list[Piece]:
    """At most `most` images, in proportion from all shards: from all over each, if it can be entered anywhere, or else
    from its front."""
    counts = [fact.count for fact in shards.facts]
    ends = np.cumsum(counts)
    wanted = np.diff(np.minimum(most, ends[-1]) * ends // ends[-1], prepend=0)
    pieces = []
    for shard, (count, k) in enumerate(zip(counts, wanted.tolist(), strict=True)):
        if not shards.seekable:
            pieces += [Piece(shard, 0, k)] if k else []
            continue
        runs, places = -(-k // RUN), -(-count // RUN)
        for run in range(runs):
            pieces.append(Piece(shard, run * places // runs * RUN, min(RUN, k - run * RUN)))
    return pieces
