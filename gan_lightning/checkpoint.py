"""Checkpoint files: written whole or not at all, found again, and read without running code from them."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from gan_lightning.errors import CheckpointError

FORMAT = 1
"""Raised when older checkpoints can no longer be read."""


LAST = Path("checkpoints") / "last.ckpt"
"""A run's newest checkpoint, within its directory."""

BEST = LAST.with_name("best.ckpt")
"""The one whose principal score was best."""


def write_atomically(path: str | os.PathLike, write: Any) -> None:
    """Calls `write(file)` on a temporary file beside `path`, which then takes its place.

    A reader, and a run killed at any moment, sees the old file or the new one, never half of either.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must survive a power cut
    finally:
        os.close(folder)


def read_checkpoint(path: str | os.PathLike, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint of ours; no code in it is run.

    Raises:
        CheckpointError: missing, cut short, or written by something else.
    """
    path = locate(path)
    _check_whole(path)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
        state = content["gan_lightning"]
        newer = state["format"] > FORMAT and state["version"]
    except Exception as error:  # unpickling something foreign can fail in any way
        raise CheckpointError(f"{path}: not a checkpoint of gan_lightning") from error
    if newer:
        raise CheckpointError(f"{path}: written by a newer gan_lightning ({newer}); update this one")
    return content


def _check_whole(path: Path) -> None:
    """Checks every byte against the checksums in the file, which torch itself does not."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except Exception as error:
        raise CheckpointError(f"{path}: not a whole checkpoint (cut short, or written by another program)"
                              f"{_other(path)}") from error
    if damaged:
        raise CheckpointError(f"{path}: not a whole checkpoint ({damaged} is damaged){_other(path)}")


def _other(path: Path) -> str:
    previous = path.with_name("previous.ckpt")
    return f"; the one before it is {previous}" if path.name == LAST.name and previous.exists() else ""


def locate(path: str | os.PathLike) -> Path:
    """The checkpoint file meant by a file or a run directory."""
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for candidate in (path / LAST, path / LAST.name):
            if candidate.is_file():
                return candidate
        raise CheckpointError(f"{path}: holds no checkpoint (looked for {LAST})")
    raise CheckpointError(f"{path}: no such checkpoint file or run directory")


def newest(run_dir: Path, beside: bool = True) -> Path | None:
    """What `ckpt_path=last` means: this run's last checkpoint, else, if `beside`, the newest of the runs beside it."""
    own = run_dir / LAST
    if own.is_file():
        return own
    if not beside:
        return None
    others = run_dir.parent.glob(f"*/{LAST}")
    return max(others, key=lambda path: path.stat().st_mtime, default=None)
