"""The endless, resumable, shardable stream of training batches."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gan_lightning.data.images import mirror
from gan_lightning.data.sources import InMemory, Source
from gan_lightning.errors import UserError
from gan_lightning.stopping import outlast_signals


class Order:
    """Which image comes when: position p of the stream holds image `permutation(seed, p // n)[p % n]`.

    Whether it is mirrored is drawn with the permutation, so both are functions of (seed, epoch) alone. So
    nothing has to be saved to go on from a position, and processes that each take a share need not talk.
    """

    def __init__(self, n: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.n, self.seed, self.device = n, seed % 2**64, device
        self._epoch, self._drawn = -1, None

    def epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The images of an epoch in order, int64 (n,), and whether each is mirrored, bool (n,)."""
        if epoch != self._epoch:
            random = np.random.default_rng([self.seed, epoch])
            indices, flips = random.permutation(self.n), random.random(self.n) < 0.5
            self._drawn = torch.from_numpy(indices).to(self.device), torch.from_numpy(flips).to(self.device)
            self._epoch = epoch
        return self._drawn

    def span(self, start: int, count: int) -> list[tuple[Tensor, Tensor]]:
        """`epoch`'s answer for positions start to start + count, in one piece per epoch that they touch."""
        pieces = []
        while count > 0:
            epoch, offset = divmod(start, self.n)
            indices, flips = (drawn[offset:offset + count] for drawn in self.epoch(epoch))
            pieces.append((indices, flips))
            start, count = start + len(indices), count - len(indices)
        return pieces


class Loader:
    """Iterates without end over what a generator step needs: `batches_per_step` batches, joined along dim 0.

    With B = batch_size and W = world_size, batch j of the step that begins at position p is positions
    p + j*W*B to p + (j+1)*W*B of the `Order`, of which process r takes the r-th B. So the stream is the same
    however many processes share it; batches run on over the end of an epoch; nothing is dropped or padded.
    `start` is the position to begin at; to resume, the number of images handed out, over all processes.

    A set in memory is gathered here, at once; any other is read ahead by `workers` processes, in this order.
    """

    def __init__(self, source: Source, *, batch_size: int, batches_per_step: int = 1, seed: int = 0,
                 start: int = 0, rank: int = 0, world_size: int = 1, hflip: bool = False, workers: int = 0,
                 pin_memory: bool = False) -> None:
        if not 0 <= rank < world_size or start < 0 or batches_per_step < 1:
            raise ValueError(f"no such share: rank {rank} of {world_size}, start {start}, "
                             f"{batches_per_step} batches per step")
        self.source, self.hflip, self.workers, self.pin_memory = source, hflip, workers, pin_memory
        self.batch_size, self.batches_per_step = batch_size, batches_per_step
        self.seed, self.start, self.rank, self.world_size = seed, start, rank, world_size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        gather = _Gather(self.source, self.hflip)
        return self._held(gather) if isinstance(self.source, InMemory) else self._streamed(gather)

    def _held(self, gather: "_Gather") -> Iterator[dict[str, Tensor]]:
        for key in self._keys(self.source.real.device):
            batch = gather[key]
            yield {name: t.pin_memory() for name, t in batch.items()} if self.pin_memory else batch

    def _streamed(self, gather: "_Gather") -> Iterator[dict[str, Tensor]]:
        # By value: tensors in a worker's queue would each cost a file descriptor.
        keys = ((indices.numpy(), flips.numpy()) for indices, flips in self._keys("cpu"))
        # A generator of its own: else DataLoader draws from the global one, and so would move training.
        ahead = DataLoader(gather, sampler=keys, batch_size=None, num_workers=self.workers,
                           pin_memory=self.pin_memory, generator=torch.Generator(), worker_init_fn=outlast_signals)
        for batch in ahead:
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def _keys(self, device: torch.device | str) -> Iterator[tuple[Tensor, Tensor]]:
        order = Order(len(self.source), self.seed, device)
        share, position = self.world_size * self.batch_size, self.start
        while True:
            pieces = []
            for _ in range(self.batches_per_step):
                pieces += order.span(position + self.rank * self.batch_size, self.batch_size)
                position += share
            indices, flips = zip(*pieces, strict=True)
            yield torch.cat(indices), torch.cat(flips)


class _Gather:
    """(indices, flips) -> batch: what a worker does. An error that a user can mend is returned, for the main
    process to raise: DataLoader would raise it with the worker's stack trace in its message."""

    def __init__(self, source: Source, hflip: bool) -> None:
        self.source, self.hflip = source, hflip

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[Tensor, Tensor]) -> dict[str, Tensor] | UserError:
        indices, flips = (torch.as_tensor(part) for part in key)
        try:
            batch = self.source.take(indices)
        except UserError as error:
            return error
        if self.hflip:
            batch["real"] = mirror(batch["real"], flips)
        return batch
