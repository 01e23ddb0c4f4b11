"""One pass over a set of images: a few numbers of each, for which no image need be kept."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning.data.decoded import Decoded
from gan_lightning.data.sources import InMemory, Source

log = logging.getLogger("gan_lightning")

BLOCK = 8e6                                             # bytes that are looked at together
SIDE = 8                                                # of the thumbnails that near copies are found by
PROGRESS = 10.0                                         # seconds between lines about a long pass


@dataclass
class Look:
    """Arrays with an entry per image that was looked at.

    index: in the source.  label: or None.  name: a hash of all pixels.  low, high: the smallest and largest value.
    spread: standard deviation of the values.  grey: whether all channels are equal.
    thumbnail: float16 (n, SIDE^2), of mean 0 and length 1; all 0 for an image without contrast. None for points.
    total: images in the source.
    """

    index: np.ndarray
    label: np.ndarray | None
    name: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spread: np.ndarray
    grey: np.ndarray
    thumbnail: np.ndarray | None
    total: int


def look(source: Source, title: str, limit: int) -> Look:
    """Looks at all of `source`, or at `limit` images chosen at random of one that must be decoded."""
    index = np.arange(len(source))
    if limit < len(source) and not isinstance(source, InMemory):
        index = np.sort(np.random.default_rng(0).choice(len(source), limit, replace=False))
    parts, told, seen = [], time.monotonic(), 0
    for batch in batches(source, index):
        parts.append(_numbers(batch))
        seen += len(parts[-1]["name"])
        if time.monotonic() - told > PROGRESS:
            told = time.monotonic()
            log.info("%s: looked at %s of %s images", title, f"{seen:,}", f"{len(index):,}")
    columns = {key: _joined([part[key] for part in parts]) for key in parts[0]}
    if isinstance(source, Decoded) and source.replaced:
        # Another image stood in for each of these, and would pass for a copy.
        whole = ~np.isin(index, list(source.replaced))
        columns = {key: None if column is None else column[whole] for key, column in columns.items()}
        index = index[whole]
    return Look(index=index, total=len(source), **columns)


def batches(source: Source, index: np.ndarray) -> Iterator[dict[str, Tensor]]:
    """The images of `index` in blocks of a few megabytes; those in files are read ahead by threads."""
    one = source.take(torch.from_numpy(index[:1]))["real"]
    size = int(min(max(BLOCK // (one.numel() * one.element_size()), 1), 1024))
    blocks = [torch.from_numpy(index[i:i + size]) for i in range(0, len(index), size)]
    if isinstance(source, Decoded):
        return _ahead(source, blocks)
    return map(source.take, blocks)


def normalised(images: Tensor) -> Tensor:
    """Thumbnails of uint8 images (n, C, H, W), of mean 0 and length 1: float32 (n, SIDE^2)."""
    small = F.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), SIDE).flatten(1)
    small = small - small.mean(1, keepdim=True)
    length = small.norm(dim=1, keepdim=True)
    return torch.where(length > SIDE, small / length.clamp_min(1), 0)   # half a grey level is no contrast


def _ahead(source: Source, blocks: Iterable[Tensor]) -> Iterator[dict[str, Tensor]]:
    pool, waiting = ThreadPoolExecutor(max_workers=8), deque()
    try:
        for block in blocks:
            waiting.append(pool.submit(source.take, block))
            if len(waiting) > 16:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _numbers(batch: dict[str, Tensor]) -> dict[str, np.ndarray | None]:
    real = batch["real"].cpu().contiguous()
    rows, points = real.flatten(1), real.ndim == 2
    values = rows.numpy()
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in values)
    first = real[:, :1]
    return {
        "label": batch["label"].cpu().numpy() if "label" in batch else None,
        "name": np.frombuffer(digests, dtype=np.uint64),
        "low": values.min(1), "high": values.max(1),
        "spread": rows.float().std(1, correction=0).numpy(),
        "grey": (real == first).flatten(1).all(1).numpy(),
        "thumbnail": None if points else normalised(real).half().numpy(),
    }


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    return None if parts[0] is None else np.concatenate(parts)
