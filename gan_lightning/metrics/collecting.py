"""One pass of an extractor over a set of images, shared by all processes."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from gan_lightning.data.sources import InMemory, Source
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.extractors.base import Extract, exact
from gan_lightning.metrics.statistics.base import Features
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.together import rank_and_world, together

AHEAD = 4  # blocks that threads read while the extractor works


class ImageSet(NamedTuple):
    """Images to be scored: those of `source` at `indices`, in that order.

    `classes`: of their labels, 0 if they have none. `read_ahead`: whether `source` may be asked by several threads,
    and is slow enough for that to help.
    """

    source: Source
    indices: Tensor
    classes: int = 0
    read_ahead: bool = False

    def images(self, numbers: Tensor) -> Tensor:
        """Images by their number in this set."""
        return self.source.take(self.indices[numbers.cpu()])["real"]


def stored(source: Source, indices: Tensor, classes: int) -> ImageSet:
    """Images that are read, not generated: ahead, by threads, if they are not in memory."""
    return ImageSet(source, indices, classes, read_ahead=not isinstance(source, InMemory))


def choose(n: int, wanted: int | None, what: str) -> Tensor:
    """`wanted` of `n` indices, by lot and always the same, in ascending order; all if None.

    Raises:
        ConfigError: there are not so many; `what` begins the message.
    """
    if wanted is None or wanted == n:
        return torch.arange(n)
    if not 0 < wanted < n:
        raise ConfigError(f"{what} has {n:,} images; choose at most that, or null for all")
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:wanted].sort().values


def collect(images: ImageSet, extract: Extract, parts: list[Collected], part_of: Tensor | None = None,
            block: int = 64) -> None:
    """Adds every image to one of `parts`, by `part_of` (n,), and sums over all processes. All of them must call it.

    Blocks of images are dealt out in turn, so each image is seen once, in the company of the same others, whatever the
    number of processes.

    Raises:
        UserError: features that are not finite; on all processes, if there are any on one.
    """
    together(lambda: _collect(images, extract, parts, part_of, block))
    for part in parts:
        part.reduce()


def _collect(images: ImageSet, extract: Extract, parts: list[Collected], part_of: Tensor | None, block: int) -> None:
    device = parts[0].device
    rank, world = rank_and_world()
    starts = range(rank * block, len(images.indices), world * block)
    with exact(device):
        for start, batch in _batches(images, starts, block):
            features = _look(batch, start, extract, device)
            for number, part in enumerate(parts):
                part.update(features if part_of is None else _rows(features, part_of[start:start + block] == number))


def _look(batch: dict[str, Tensor], start: int, extract: Extract, device: torch.device) -> Features:
    pixels = batch["real"].to(device)
    pool, logits = extract(pixels)
    if not pool.isfinite().all():
        raise UserError("the extractor gave features that are infinite or not a number: are the images, or its "
                        "weights, damaged?")
    label = batch.get("label")
    index = torch.arange(start, start + len(pixels), device=device)
    return Features(index, pool, logits, None if label is None else label.to(device), pixels)


def _rows(features: Features, chosen: Tensor) -> Features:
    chosen = chosen.to(features.index.device)
    return Features(*(None if values is None else values[chosen] for values in features))


def _batches(images: ImageSet, starts: range, block: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
    def take(start: int) -> dict[str, Tensor]:
        return images.source.take(images.indices[start:start + block])

    if not images.read_ahead:
        yield from ((start, take(start)) for start in starts)
        return
    with ThreadPoolExecutor(AHEAD) as pool:
        yield from _in_order(pool, take, starts)


def _in_order(pool: ThreadPoolExecutor, take: Callable[[int], dict[str, Tensor]],
              starts: range) -> Iterator[tuple[int, dict[str, Tensor]]]:
    waiting: deque = deque()
    for start in starts:
        waiting.append((start, pool.submit(take, start)))
        if len(waiting) > AHEAD:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()
