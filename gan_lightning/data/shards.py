"""Sets that come in shards: files of many images, each read from front to back."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from gan_lightning.data.shard_order import Piece
from gan_lightning.errors import DataError
from gan_lightning.metrics.cache import Cache, default_folder

log = logging.getLogger("gan_lightning")
THREADS = 8
UNKNOWN = -1                                            # a count that is to be found out again
PROGRESS = 10.0                                         # seconds between lines about a long read


class Sample(NamedTuple):
    """An image that is not decoded yet: the bytes of a file, or its path. name: as a user knows it."""

    image: bytes | str
    name: str
    label: int | None

    def open(self) -> BinaryIO:
        return BytesIO(self.image) if isinstance(self.image, bytes) else open(self.image, "rb")


class Facts(NamedTuple):
    """What is known of a shard before training.

    count: images that can be handed out. labelled: how many of them have a label, -1 if that is not known; low, high:
    the smallest and largest label. fault: what is wrong with the shard, or "". offset: where to find every
    STRIDE-th image in it, if it can be entered there.
    """

    count: int
    labelled: int = -1
    low: int = 0
    high: int = -1
    fault: str = ""
    offset: tuple[int, ...] = ()


class Shards(Protocol):
    """names: of the shards, for messages. facts: of each. seekable: whether one can be entered in the middle."""

    names: list[str]
    facts: list[Facts]
    seekable: bool

    def read(self, shard: int, start: int) -> Iterator[Sample]:
        """The samples of a shard from number `start` on. Raises DataError if they cannot be had."""


class Reader:
    """Reads pieces of shards; a piece that follows on the last goes on in the shard that is open."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self._place, self._open = (-1, 0), iter(())

    def read(self, pieces: list[Piece]) -> list[Sample]:
        return [sample for piece in pieces for sample in self.stream(piece)]

    def stream(self, piece: Piece) -> Iterator[Sample]:
        """The samples of a piece, one at a time."""
        shard, first, count = piece
        if self._place != (shard, first):
            self.close()
            self._open = self.shards.read(shard, first)
        for number in range(count):
            sample = next(self._open, None)
            if sample is None:
                known = self.shards.facts[shard].count
                raise DataError(f"{self.shards.names[shard]} holds {first + number:,} images, not {known:,} as when "
                                f"they were counted: mend it, or remove {default_folder()}/shards-*.npz, or mend "
                                "data.index, so that they are counted again")
            yield sample
        self._place = shard, first + count

    def close(self) -> None:
        self._place = -1, 0
        getattr(self._open, "close", _nothing)()


def look_at_all(names: list[str], look: Callable[[int], Facts], made_of: dict[str, Any], title: str) -> list[Facts]:
    """look(i) of every shard, on a few threads, or what an earlier call found.

    made_of: plain data that the facts depend on: what names the shards and tells that they have not changed.
    """
    cache, fields = Cache(), {"kind": "shards"} | made_of
    arrays = cache.get(fields)
    facts = dict(enumerate(_unpacked(arrays) if arrays is not None else []))
    left = [i for i in range(len(names)) if i not in facts or facts[i].count == UNKNOWN]
    if not left:
        return list(facts.values())
    told = time.monotonic()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for i, fact in zip(left, pool.map(look, left), strict=True):
            facts[i] = fact
            if time.monotonic() - told > PROGRESS:
                told = time.monotonic()
                log.info("%s: counted images in %s of %s shards, which is done once", title, f"{i + 1:,}",
                         f"{len(names):,}")
    finally:
        pool.shutdown(cancel_futures=True)
    found = [facts[i] for i in range(len(names))]
    cache.put(fields, _packed([fact._replace(count=UNKNOWN) if fact.fault else fact for fact in found]))
    return found


def _packed(facts: list[Facts]) -> dict[str, np.ndarray]:
    numbers = np.array([[*fact[:4], len(fact.offset)] for fact in facts], dtype=np.int64)
    return {"numbers": numbers, "offset": np.concatenate([np.array(fact.offset, dtype=np.int64) for fact in facts])}


def _unpacked(arrays: dict[str, np.ndarray]) -> list[Facts]:
    numbers, ends = arrays["numbers"], np.cumsum(arrays["numbers"][:, 4])
    return [Facts(*map(int, row[:4]), "", tuple(arrays["offset"][end - row[4]:end].tolist()))
            for row, end in zip(numbers, ends, strict=True)]


def _nothing() -> None:
    """An iterator that has nothing to close."""
