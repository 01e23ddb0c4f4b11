"""Image files: all decoded into memory with a few threads, or each as it is asked for."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_lightning.data.archive import Directory, Zip
from gan_lightning.data.images import decode
from gan_lightning.data.sources import InMemory, Source
from gan_lightning.errors import ConfigError, DataError

log = logging.getLogger("gan_lightning")
OnError = Literal["raise", "skip"]

CHUNK = 256                                             # files per task of a thread
PROGRESS = 10.0                                         # seconds between lines about a long read


class Decoded:
    """Images decoded as they are taken, for a set larger than memory. names: files of `archive`; label (N,).

    on_error="skip" hands out the next readable image in place of a damaged one: all others keep their place.
    """

    def __init__(self, archive: Directory | Zip, names: list[str], label: Tensor | None, resolution: int,
                 channels: int, on_error: OnError = "raise") -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"data.on_error={on_error}: must be raise or skip")
        self.archive, self.names, self.label, self.on_error = archive, names, label, on_error
        self.resolution, self.channels = resolution, channels
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        taken, images = zip(*map(self._read, indices.tolist()), strict=True)
        batch = {"real": torch.from_numpy(np.stack(images))}
        if self.label is not None:
            batch["label"] = self.label[list(taken)]
        return batch

    def pixels(self, image: Image.Image) -> np.ndarray:
        """An opened image -> uint8 (C, H, W)."""
        return decode(image, self.resolution, self.channels)

    def where(self, index: int) -> str:
        """A file's name as a user knows it."""
        return f"{self.archive.root}/{self.names[index]}"

    def visit(self, index: int, use: Callable[[Image.Image], object]) -> tuple[object, str]:
        """use(the opened image), and why that failed, or ""."""
        try:
            with self.archive.open(self.names[index]) as stream, Image.open(stream) as image:
                return use(image), ""
        except (MemoryError, DataError):
            raise
        except Exception as error:  # noqa: BLE001 - Pillow's readers raise anything for a damaged file
            # Pillow's own text for "not an image" names an object in memory.
            reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
            return None, " ".join(reason.split()) or type(error).__name__

    def damaged(self, index: int, reason: str) -> DataError:
        return DataError(f"{self.where(index)} cannot be read ({reason}); mend or remove it, "
                         f"or leave such images out with data.on_error=skip")

    def _read(self, index: int) -> tuple[int, np.ndarray]:
        for other in chain(range(index, len(self)), range(index)):
            pixels, reason = self.visit(other, self.pixels)
            if not reason:
                return other, pixels
            if self.on_error == "raise":
                raise self.damaged(other, reason)
            if other not in self._reported:
                self._reported.add(other)
                log.warning("%s cannot be read (%s); the next image stands in", self.where(other), reason)
        raise DataError(f"{self.archive.root}: no image can be read")


def load_images(files: Decoded, held: bool, title: str, remarks: str = "") -> Source:
    """All of `files`, looked at once: decoded into memory if `held`, else their headers only, and streamed.

    Logs one line of what was found. A file that cannot be read raises DataError, or is left out and named.
    """
    shape = (len(files), files.channels, files.resolution, files.resolution)
    real = np.empty(shape if held else 0, dtype=np.uint8)

    def look(index: int) -> tuple[tuple[int, int] | None, str]:
        def use(image: Image.Image) -> tuple[int, int]:
            size = image.size
            if held:
                real[index] = files.pixels(image)
            return size
        return files.visit(index, use)

    sizes, bad = _look_at_all(files, look)
    kept = sorted(set(range(len(files))).difference(bad))
    if not kept:
        raise DataError(f"{title}: none of its {len(files)} images can be read, e.g. {files.where(0)}")
    log.info("%s: %s images, %s%s%s", title, f"{len(kept):,}", _sizes(sizes), remarks, _left_out(files, bad))
    label = files.label if files.label is None or not bad else files.label[kept]
    if held:
        return InMemory(torch.from_numpy(real[kept] if bad else real), label)
    names = [files.names[index] for index in kept]
    return Decoded(files.archive, names, label, files.resolution, files.channels, files.on_error)


def _look_at_all(files: Decoded, look: Callable[[int], tuple]) -> tuple[Counter, list[int]]:
    """look(i) for every file, on a few threads: how often each size occurs, and the unreadable files."""
    sizes, bad, told = Counter(), [], time.monotonic()
    chunks = [range(i, min(i + CHUNK, len(files))) for i in range(0, len(files), CHUNK)]
    pool = ThreadPoolExecutor(max_workers=8)
    try:
        looks = pool.map(lambda chunk: [look(index) for index in chunk], chunks)
        for chunk, results in zip(chunks, looks, strict=True):
            for index, (size, reason) in zip(chunk, results, strict=True):
                if reason and files.on_error == "raise":
                    raise files.damaged(index, reason)
                if reason:
                    bad.append(index)
                else:
                    sizes[size] += 1
            if time.monotonic() - told > PROGRESS:
                told = time.monotonic()
                log.info("%s: read %s of %s images", files.archive.root, f"{chunk.stop:,}", f"{len(files):,}")
    finally:
        pool.shutdown(cancel_futures=True)
    return sizes, bad


def _sizes(sizes: Counter) -> str:
    """e.g. "28x28", or "20x30 to 640x480 (57 sizes)"."""
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    small, large = (f"{width}x{height}" for width, height in (ordered[0], ordered[-1]))
    return small if len(ordered) == 1 else f"{small} to {large} ({len(ordered)} sizes)"


def _left_out(files: Decoded, bad: list[int]) -> str:
    if not bad:
        return ""
    names = ", ".join(files.names[index] for index in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f", {len(bad):,} unreadable left out ({names})"
