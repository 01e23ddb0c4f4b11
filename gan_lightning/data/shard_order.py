"""The order of a set in shards, which are read from front to back: a function of seed, position and the process.

Shards come in another order each epoch. Laid end to end in it, they are cut into one run for each lane of each
process; a process deals its places to its lanes in turn, and each lane mixes its run in blocks. So neighbours in the
stream come from different shards, no shard is read by many, and to go on from a position only the current block of
each lane is read again: that is arithmetic on the numbers of images in the shards.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


def share(stop: int, size: int, parts: int, which: int) -> int:
    """How many of the places 0 to stop - 1 fall to `which`, if `parts` are dealt `size` of them in turn."""
    rounds, rest = divmod(stop, size * parts)
    return rounds * size + min(max(rest - which * size, 0), size)


class Piece(NamedTuple):
    """Images first to first + count - 1 of a shard."""

    shard: int
    first: int
    count: int


class Block(NamedTuple):
    """Images that are read together. order: of handing out, as places in the joined pieces, int64 (n,); flips: whether
    each of them, in that order, is mirrored, bool (n,); skip: how many of them had been handed out before."""

    pieces: list[Piece]
    order: np.ndarray
    flips: np.ndarray
    skip: int = 0


class ShardOrder:
    """What each lane of a process reads, and when.

    With B = batch_size, W = world_size and n images, places e n to (e + 1) n - 1 of the stream are epoch e, and process
    r has those p with (p // B) % W == r: as in `Loader`, each image has exactly one place in an epoch, no process has
    more places than another, and nothing is dropped or padded. Its q-th place is filled by its lane q % lanes. Unlike
    in `Loader`, which image has which place depends on W and B, since a process is to read shards of its own.

    Args:
        counts: images in each shard.
        window: images of a lane that are mixed with each other.
    """

    def __init__(self, counts: list[int], *, seed: int, batch_size: int, rank: int = 0, world_size: int = 1,
                 lanes: int = 8, window: int = 250):
        self.counts, self.n, self.seed = counts, sum(counts), seed % 2**64
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.lanes, self.window = lanes, window
        self._laid: tuple[int, np.ndarray | None, np.ndarray | None] = -1, None, None

    def given(self, position: int) -> int:
        """How many of the stream's first `position` images are this process's."""
        return share(position, self.batch_size, self.world_size, self.rank)

    def blocks(self, lane: int, position: int) -> Iterator[Block]:
        """All that a lane reads if the stream goes on from `position`; without end."""
        epoch = position // self.n
        done = self._taken(position, self.rank, lane) - self._taken(epoch * self.n, self.rank, lane)
        while True:
            yield from self._epoch(epoch, lane, done)
            epoch, done = epoch + 1, 0

    def runs(self, epoch: int) -> list[tuple[int, int]]:
        """Of each lane of each process, (0, 0), (0, 1), ...: the first image of its run, and how many there are, in the
        epoch's shards laid end to end."""
        lanes = [(rank, lane) for rank in range(self.world_size) for lane in range(self.lanes)]
        counts = [self._taken((epoch + 1) * self.n, *one) - self._taken(epoch * self.n, *one) for one in lanes]
        return [(int(end) - count, count) for end, count in zip(np.cumsum(counts), counts, strict=True)]

    def passed_over(self, epoch: int) -> int:
        """Images that all processes together read in vain in an epoch, if no shard can be entered but at its front."""
        return sum(self._pieces(epoch, first, 1)[0].first for first, count in self.runs(epoch) if count)

    def _taken(self, position: int, rank: int, lane: int) -> int:
        return share(share(position, self.batch_size, self.world_size, rank), 1, self.lanes, lane)

    def _epoch(self, epoch: int, lane: int, done: int) -> Iterator[Block]:
        first, count = self.runs(epoch)[self.rank * self.lanes + lane]
        # The first block of each lane has another length, so that not all lanes read their next one at once.
        start, stop, number = 0, max(1, self.window * (lane + 1) // self.lanes), 0
        while start < count:
            stop = min(stop, count)
            if done < stop:
                random = self._random(1, epoch, self.rank, lane, number)
                order, flips = random.permutation(stop - start), random.random(stop - start) < 0.5
                pieces = self._pieces(epoch, first + start, stop - start)
                yield Block(pieces, order, flips, max(0, done - start))
            start, stop, number = stop, stop + self.window, number + 1

    def _pieces(self, epoch: int, first: int, count: int) -> list[Piece]:
        """Images first to first + count - 1 of the epoch's shards laid end to end."""
        order, ends = self._shards(epoch)
        pieces, place = [], int(np.searchsorted(ends, first, side="right"))
        while count > 0:
            shard = int(order[place])
            inside = first - (int(ends[place]) - self.counts[shard])
            part = min(count, self.counts[shard] - inside)
            if part:
                pieces.append(Piece(shard, inside, part))
            first, count, place = first + part, count - part, place + 1
        return pieces

    def _shards(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards in the epoch's order, and where each ends if they are laid end to end."""
        if epoch != self._laid[0]:
            order = self._random(0, epoch).permutation(len(self.counts))
            self._laid = epoch, order, np.cumsum(np.asarray(self.counts)[order])
        return self._laid[1:]

    def _random(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([*numbers[:1], self.seed, *numbers[1:]])
