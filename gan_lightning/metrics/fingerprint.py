"""What a score depends on, so that only like is compared with like."""

import struct
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gan_lightning.data.sources import InMemory, Source
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import digest
from gan_lightning.metrics.together import rank_and_world, together

MODULUS = 1 << 256
THREADS = 8


def data_hash(source: Source, indices: Tensor | None = None, block: int = 256) -> str:
    """Hexadecimal hash of the bytes and labels of all images, or of those at `indices`, in their order.

    One changed pixel changes it. Each image is hashed with its place, and the hashes are added, so processes share the
    work: all of them must call it.
    """
    if indices is None:
        indices = torch.arange(len(source))
    rank, world = rank_and_world()
    total = together(lambda: _sum_of_hashes(source, indices, block, rank, world))
    if world > 1:
        parts = [0] * world
        dist.all_gather_object(parts, total)
        total = sum(parts)
    return f"{total % MODULUS:064x}"


def _sum_of_hashes(source: Source, indices: Tensor, block: int, rank: int, world: int) -> int:
    def hashes_of(start: int) -> int:
        total, batch = 0, source.take(indices[start:start + block])
        images = batch["real"].cpu().contiguous()
        shape = str(tuple(images.shape[1:])).encode()
        labels = batch["label"].tolist() if "label" in batch else [-1] * len(images)
        for place, (image, label) in enumerate(zip(images.numpy(), labels, strict=True), start):
            head = struct.pack("<qq", place, label) + shape
            total += int.from_bytes(blake2b(head + image.tobytes(), digest_size=32).digest(), "little")
        return total

    starts = range(rank * block, len(indices), world * block)
    if isinstance(source, InMemory):
        return sum(map(hashes_of, starts)) % MODULUS
    with ThreadPoolExecutor(THREADS) as pool:  # files are decoded for this, which takes longer than the hash
        return sum(pool.map(hashes_of, starts)) % MODULUS


def short(fingerprint: dict[str, Any]) -> str:
    """Eight hexadecimal digits that stand for a fingerprint in a table."""
    return digest(fingerprint, 8)


def refuse_difference(first: dict[str, Any], second: dict[str, Any], what: str) -> None:
    """Raises ConfigError, naming what differs, unless two fingerprints are equal. `what`: the score, and whose."""
    if first == second:
        return
    lines = _differences(first, second, "")
    raise ConfigError(f"{what} cannot be compared: {'; '.join(lines[:4])}; measure both with the same settings")


def _differences(first: Any, second: Any, path: str) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        keys = list(first) + [key for key in second if key not in first]
        return [line for key in keys
                for line in _differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))]
    return [] if first == second else [f"{path} is {_brief(first)} in one, {_brief(second)} in the other"]


def _brief(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 40 else str(value)
