"""Sets that are never held: images are read from shards as training goes on."""

import logging
from typing import Literal

import torch

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.decoded import OnError, sizes
from gan_lightning.data.encoded import Decoder, Examined, read_reference
from gan_lightning.data.shard_order import ShardOrder
from gan_lightning.data.shards import Shards
from gan_lightning.data.sources import InMemory
from gan_lightning.data.stream_loader import StreamLoader
from gan_lightning.errors import ConfigError, DataError

log = logging.getLogger("gan_lightning")
MUCH = 0.1                                              # share of an epoch that is read in vain and worth a line


class StreamedData(ImageData):
    """A set in shards. A subclass says what they are (`open_shards`).

    shards_at_once: how many each process reads in turn, so that neighbours come from different shards; also the most
        workers that are of use.
    shuffle: images, not yet decoded, that each process holds and draws from.
    reference_images: `source` is not the whole set but so many images of it, from all shards, held in memory: what
        scores, the watchdog and the data doctor look at.
    on_error: "raise" stops at the first image that cannot be read; "skip" has another stand in for it.
    files: what was found in the files of the reference, per split that has been read.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, batch_size: int = 64, hflip: bool = False,
                 split: Split = "train", workers: int = 2, shards_at_once: int = 8, shuffle: int = 2000,
                 reference_images: int = 10_000, on_error: Literal["raise", "skip"] = "raise") -> None:
        super().__init__(resolution, channels, num_classes, batch_size, hflip, split, workers)
        for name, value in (("shards_at_once", shards_at_once), ("shuffle", shuffle),
                            ("reference_images", reference_images)):
            if value < 1:
                raise ConfigError(f"data.{name}={value}: must be at least 1")
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"data.on_error={on_error}: must be raise or skip")
        self.shards_at_once, self.shuffle, self.reference_images = shards_at_once, shuffle, reference_images
        self.on_error: OnError = on_error
        self.files: dict[Split, Examined] = {}
        self._shards: dict[Split, Shards] = {}

    def open_shards(self, split: Split) -> Shards:
        """The shards of a split, with what is known of each. Raises DataError when there are none."""
        raise NotImplementedError

    def shards(self, split: Split | None = None) -> Shards:
        """The shards of a split, looked at once per process."""
        split = split or self.split
        if split not in self._shards:
            shards = self.open_shards(split)
            self._check_shards(shards)
            self._shards[split] = shards
        return self._shards[split]

    def count(self, split: Split | None = None) -> int:
        return sum(fact.count for fact in self.shards(split).facts)

    def prepare(self) -> None:
        self.shards()                                   # what is found out is kept for the other processes

    def load(self, split: Split) -> InMemory:
        shards = self.shards(split)
        source, found = read_reference(shards, self._decoder(), self.reference_images)
        bad = f", {len(found.unreadable):,} unreadable left out" if found.unreadable else ""
        log.info("%s (%s): %s images in %s shards; %s of them are held as a reference, %s%s", self.title, split,
                 f"{self.count(split):,}", f"{len(shards.names):,}", f"{len(source):,}", sizes(found.kinds), bad)
        self.files[split] = found
        return source

    def check(self) -> None:
        """Looks at all shards and decodes the reference; ConfigError if the set does not fill a batch."""
        if self.count() < self.batch_size:
            raise ConfigError(f"data.batch_size={self.batch_size}: the {self.split} set has only {self.count()} "
                              f"images; choose a batch size of at most {self.count()}")
        self.source()

    def loader(self, *, batches_per_step: int, seed: int, start: int = 0, rank: int = 0, world_size: int = 1,
               device: torch.device | None = None) -> StreamLoader:
        """Endless batches; `ShardOrder` has their order, and the arguments are those of `ImageData.loader`."""
        shards, lanes = self.shards(), self.shards_at_once
        order = ShardOrder([fact.count for fact in shards.facts], seed=seed, batch_size=self.batch_size, rank=rank,
                           world_size=world_size, lanes=lanes, window=-(-self.shuffle // lanes))
        if rank == 0:
            self._tell(shards, order)
        return StreamLoader(shards, order, self._decoder(), batches_per_step=batches_per_step, start=start,
                            hflip=self.hflip, workers=self.workers,
                            pin_memory=device is not None and device.type == "cuda")

    def order_depends_on(self, world_size: int) -> dict[str, int]:
        return {"devices": world_size, "data.batch_size": self.batch_size, "data.shards_at_once": self.shards_at_once,
                "data.shuffle": self.shuffle, "images": self.count(), "shards": len(self.shards().names)}

    @property
    def title(self) -> str:
        """What the set is called in messages."""
        return type(self).__name__

    def _decoder(self) -> Decoder:
        return Decoder(self.resolution, self.channels, self.num_classes, self.on_error)

    def _check_shards(self, shards: Shards) -> None:
        for name, fact in zip(shards.names, shards.facts, strict=True):
            if fact.fault and self.on_error == "raise":
                raise DataError(f"{name} cannot be read beyond image {fact.count:,} ({fact.fault}); mend or remove it, "
                                "or use what can be read of it with data.on_error=skip")
            if fact.fault:
                log.warning("%s cannot be read beyond image %s (%s): the rest is left out", name, f"{fact.count:,}",
                            fact.fault)
            if self.num_classes and fact.labelled not in (-1, fact.count):
                raise DataError(f"{name}: {fact.count - fact.labelled:,} of its {fact.count:,} images have no label, "
                                f"but data.num_classes={self.num_classes}; add them, or choose data.num_classes=0")
            if self.num_classes and (fact.low < 0 or fact.high >= self.num_classes):
                raise ConfigError(f"data.num_classes={self.num_classes}: labels in {name} are {fact.low} to "
                                  f"{fact.high}; they must be 0 to num_classes - 1, or data.num_classes=0")
        if not any(fact.count for fact in shards.facts):
            raise DataError(f"{self.title}: its {len(shards.names):,} shards hold no images (JPEG, PNG or WebP)")

    def _tell(self, shards: Shards, order: ShardOrder) -> None:
        if self.workers > self.shards_at_once:
            log.info("data.workers=%d: only %d are of use, one for each of data.shards_at_once=%d", self.workers,
                     self.shards_at_once, self.shards_at_once)
        wasted = 0 if shards.seekable else order.passed_over(0) / order.n
        if wasted > MUCH:
            log.info("%s: %d processes, each with data.shards_at_once=%d, share %s shards; some must be read by "
                     "several, from the front: about %.0f %% more is read than used; more and smaller shards, or fewer "
                     "at once, mend that", self.title, order.world_size, self.shards_at_once,
                     f"{len(shards.names):,}", 100 * wasted)
