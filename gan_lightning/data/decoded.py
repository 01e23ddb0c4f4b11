"""Image files: all decoded into memory with a few threads, or each as it is asked for."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_lightning.data.archive import Directory, Zip
from gan_lightning.data.images import decode
from gan_lightning.data.inspect import is_lossy
from gan_lightning.data.sources import InMemory, Source
from gan_lightning.errors import ConfigError, DataError

log = logging.getLogger("gan_lightning")
OnError = Literal["raise", "skip"]
T = TypeVar("T")

CHUNK = 256                                             # files per task of a thread
PROGRESS = 10.0                                         # seconds between lines about a long read


class FileKind(NamedTuple):
    """What a file's header says. mode, format: Pillow's names. lossy: detail was lost when it was saved."""

    width: int
    height: int
    mode: str
    format: str
    lossy: bool


def attempt(open_file: Callable[[], BinaryIO], use: Callable[[Image.Image], T]) -> tuple[T | None, str]:
    """use(the image in the file that `open_file` opens), and why that failed, or ""."""
    try:
        with open_file() as stream, Image.open(stream) as image:
            return use(image), ""
    except (MemoryError, DataError):
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's readers raise anything for a damaged file
        # Pillow's own text for "not an image" names an object in memory.
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        return None, " ".join(reason.split()) or type(error).__name__


def damaged(name: str, reason: str) -> DataError:
    return DataError(f"{name} cannot be read ({reason}); mend or remove it, "
                     f"or leave such images out with data.on_error=skip")


class Decoded:
    """Images decoded as they are taken, for a set larger than memory. names: files of `archive`; label (N,).

    on_error="skip" hands out the next readable image in place of a damaged one: all others keep their place.
    kinds: how many files of each kind there are, and unreadable: name -> reason; both known after `load_images`.
    replaced: index -> reason, of damage found later, for which another image stood in.
    """

    def __init__(self, archive: Directory | Zip, names: list[str], label: Tensor | None, resolution: int,
                 channels: int, on_error: OnError = "raise") -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"data.on_error={on_error}: must be raise or skip")
        self.archive, self.names, self.label, self.on_error = archive, names, label, on_error
        self.resolution, self.channels = resolution, channels
        self.kinds: Counter[FileKind] = Counter()
        self.unreadable: dict[str, str] = {}
        self.replaced: dict[int, str] = {}

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

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image handed out."""
        return self.channels, self.resolution, self.resolution

    def kind(self, index: int, image: Image.Image) -> FileKind:
        """What the header of an opened image says."""
        lossy = is_lossy(self.archive, self.names[index], image.format)
        return FileKind(*image.size, image.mode, image.format, lossy)

    def keep(self, indices: list[int]) -> None:
        """Forgets all other files."""
        self.names = [self.names[index] for index in indices]
        if self.label is not None:
            self.label = self.label[indices]

    def where(self, index: int) -> str:
        """A file's name as a user knows it."""
        return f"{self.archive.root}/{self.names[index]}"

    def visit(self, index: int, use: Callable[[Image.Image], object]) -> tuple[object, str]:
        """use(the opened image), and why that failed, or ""."""
        return attempt(lambda: self.archive.open(self.names[index]), use)

    def damaged(self, index: int, reason: str) -> DataError:
        return damaged(self.where(index), reason)

    def _read(self, index: int) -> tuple[int, np.ndarray]:
        for other in chain(range(index, len(self)), range(index)):
            pixels, reason = self.visit(other, self.pixels)
            if not reason:
                return other, pixels
            if self.on_error == "raise":
                raise self.damaged(other, reason)
            if other not in self.replaced:
                self.replaced[other] = reason
                log.warning("%s cannot be read (%s); the next image stands in", self.where(other), reason)
        raise DataError(f"{self.archive.root}: no image can be read")


def load_images(files: Decoded, held: bool, title: str, remarks: str = "") -> Source:
    """All of `files`, looked at once: decoded into memory if `held`, else their headers only, and streamed.

    Logs one line of what was found, and leaves it in `files`. A file that cannot be read raises DataError, or is
    taken out of `files` and named.
    """
    real = np.empty((len(files), *files.shape) if held else 0, dtype=np.uint8)

    def look(index: int) -> tuple[FileKind | None, str]:
        def use(image: Image.Image) -> FileKind:
            kind = files.kind(index, image)
            if held:
                real[index] = files.pixels(image)
            return kind
        return files.visit(index, use)

    files.kinds, bad = _look_at_all(files, look)
    files.unreadable = {files.names[index]: reason for index, reason in bad.items()}
    if len(bad) == len(files):
        raise DataError(f"{title}: none of its {len(files)} images can be read, e.g. {files.where(0)}")
    if bad:
        kept = sorted(set(range(len(files))).difference(bad))
        files.keep(kept)
        real = real[kept] if held else real
    log.info("%s: %s images, %s%s%s", title, f"{len(files):,}", sizes(files.kinds), remarks, _left_out(files))
    return InMemory(torch.from_numpy(real), files.label) if held else files


def _look_at_all(files: Decoded, look: Callable[[int], tuple]) -> tuple[Counter[FileKind], dict[int, str]]:
    """look(i) for every file, on a few threads: how often each kind occurs, and why which cannot be read."""
    kinds, bad, told = Counter(), {}, time.monotonic()
    chunks = [range(i, min(i + CHUNK, len(files))) for i in range(0, len(files), CHUNK)]
    pool = ThreadPoolExecutor(max_workers=8)
    try:
        looks = pool.map(lambda chunk: [look(index) for index in chunk], chunks)
        for chunk, results in zip(chunks, looks, strict=True):
            for index, (kind, reason) in zip(chunk, results, strict=True):
                if reason and files.on_error == "raise":
                    raise files.damaged(index, reason)
                if reason:
                    bad[index] = reason
                else:
                    kinds[kind] += 1
            if time.monotonic() - told > PROGRESS:
                told = time.monotonic()
                log.info("%s: read %s of %s images", files.archive.root, f"{chunk.stop:,}", f"{len(files):,}")
    finally:
        pool.shutdown(cancel_futures=True)
    return kinds, bad


def sizes(kinds: Counter[FileKind]) -> str:
    """e.g. "28x28", or "20x30 to 640x480 (57 sizes)"."""
    ordered = sorted({kind[:2] for kind in kinds}, key=lambda size: (size[0] * size[1], size))
    small, large = (f"{width}x{height}" for width, height in (ordered[0], ordered[-1]))
    return small if len(ordered) == 1 else f"{small} to {large} ({len(ordered)} sizes)"


def _left_out(files: Decoded) -> str:
    bad = list(files.unreadable)
    if not bad:
        return ""
    return f", {len(bad):,} unreadable left out ({', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''})"
