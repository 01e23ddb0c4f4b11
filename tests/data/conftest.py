"""Shards made by hand, for the tests of sets that are streamed."""

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = 8


def picture(i: int) -> np.ndarray:
    """Image i, grey, and not equal to its mirror image: uint8 (SIZE, SIZE). Those up to 127 all differ."""
    i %= 128
    pixels = np.full((SIZE, SIZE), i, dtype=np.uint8)
    pixels[:, SIZE // 2:] = 255 - i
    return pixels


def encoded(i: int, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(i)).save(stream, {"jpg": "JPEG"}.get(kind, kind))
    return stream.getvalue()


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """A tar with these files, in this order, by the standard library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def make_shards(folder: Path, counts: list[int], labelled: bool = True, suffix: str = ".tar") -> list[Path]:
    """Shards with so many images; image number i, counted on from shard to shard, has label i."""
    paths, first = [], 0
    for shard, count in enumerate(counts):
        files: dict[str, bytes] = {}
        for i in range(first, first + count):
            files[f"{i:04}.png"] = encoded(i)
            if labelled:
                files[f"{i:04}.cls"] = str(i).encode()
        first += count
        paths.append(pack(folder / f"{shard:03}{suffix}", files))
    return paths


@pytest.fixture
def by_hand(tmp_path, monkeypatch):
    """This module; what it makes is counted afresh in each test."""
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return sys.modules[__name__]
