"""The endless, resumable stream of training batches from a set in shards."""

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gan_lightning.data.encoded import Decoder
from gan_lightning.data.shard_order import ShardOrder
from gan_lightning.data.shards import Reader, Shards
from gan_lightning.errors import UserError
from gan_lightning.stopping import outlast_signals


class StreamLoader:
    """Iterates without end over what a generator step needs: `batches_per_step` batches, joined along dim 0.

    Which images those are is a function of the `order` and of `start` alone: workers share the lanes, each reads and
    decodes what falls to its own, and here the images are put into their places. So the number of workers changes
    nothing. A worker needs a lane of its own; there are never more workers than lanes.

    start: the position to begin at; to resume, the number of images handed out, over all processes.
    """

    def __init__(self, shards: Shards, order: ShardOrder, decoder: Decoder, *, batches_per_step: int = 1,
                 start: int = 0, hflip: bool = False, workers: int = 0, pin_memory: bool = False) -> None:
        if not 0 <= order.rank < order.world_size or start < 0 or batches_per_step < 1:
            raise ValueError(f"no such share: rank {order.rank} of {order.world_size}, start {start}, "
                             f"{batches_per_step} batches per step")
        self.order, self.workers, self.pin_memory = order, min(workers, order.lanes), pin_memory
        self.parts = _Parts(shards, order, decoder, order.batch_size * batches_per_step, start, hflip)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        # A generator of its own: else DataLoader draws from the global one, and so would move training.
        ahead = iter(DataLoader(self.parts, batch_size=None, num_workers=self.workers,
                                generator=torch.Generator(), worker_init_fn=outlast_signals))
        workers = max(1, self.workers)
        try:
            for places in self.parts.places():
                parts = list(islice(ahead, workers))
                batch = _joined(parts, [_of(places, worker, workers) for worker in range(workers)])
                yield {name: t.pin_memory() for name, t in batch.items()} if self.pin_memory else batch
        finally:
            del ahead                                   # ends the workers now; left to a traceback, they end in a stall


class _Parts(IterableDataset):
    """What each worker contributes to each step, in turn."""

    def __init__(self, shards: Shards, order: ShardOrder, decoder: Decoder, size: int, start: int, hflip: bool) -> None:
        self.shards, self.order, self.decoder = shards, order, decoder
        self.size, self.start, self.hflip = size, start, hflip

    def places(self) -> Iterator[np.ndarray]:
        """The lane of each image of a step, int64 (size,), step by step."""
        first = self.order.given(self.start)
        while True:
            yield np.arange(first, first + self.size) % self.order.lanes
            first += self.size

    def __iter__(self) -> Iterator[dict[str, Tensor] | UserError]:
        worker = get_worker_info()
        mine, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        lanes = {lane: self._lane(lane) for lane in range(mine, self.order.lanes, workers)}
        try:
            for places in self.places():
                yield self._part([next(lanes[lane]) for lane in places[_of(places, mine, workers)].tolist()])
        except UserError as error:
            yield error                                 # raised here, its message would be a worker's stack trace

    def _lane(self, lane: int) -> Iterator[tuple[np.ndarray, int | None]]:
        """A lane's images, uint8 (C, H, W), and their labels."""
        reader = Reader(self.shards)
        for block in self.order.blocks(lane, self.start):
            samples = reader.read(block.pieces)
            for place in range(block.skip, len(samples)):
                candidates = (samples[i] for i in chain(block.order[place:], block.order[:place]))
                pixels, label = self.decoder.first(candidates)
                yield pixels[..., ::-1] if self.hflip and block.flips[place] else pixels, label
            del samples, candidates                     # before the next are read

    def _part(self, images: list[tuple[np.ndarray, int | None]]) -> dict[str, Tensor]:
        if not images:                                  # a step of fewer images than there are workers
            return {}
        pixels, labels = zip(*images, strict=True)
        part = {"real": torch.from_numpy(np.stack(pixels))}
        return part if labels[0] is None else part | {"label": torch.tensor(labels)}


def _of(places: np.ndarray, worker: int, workers: int) -> np.ndarray:
    """Which images of a step are a worker's, as indices."""
    return np.flatnonzero(places % workers == worker)


def _joined(parts: list[dict[str, Tensor] | UserError], indices: list[np.ndarray]) -> dict[str, Tensor]:
    for part in parts:
        if isinstance(part, UserError):
            raise part
    if len(parts) == 1:
        return parts[0]
    size, batch = sum(map(len, indices)), {}
    for part, index in zip(parts, indices, strict=True):
        for name, values in part.items():
            if name not in batch:
                batch[name] = torch.empty(size, *values.shape[1:], dtype=values.dtype)
            batch[name][torch.from_numpy(index)] = values
    return batch
