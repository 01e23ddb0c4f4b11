"""Checkpoint files: written whole or not at all, found again, and read without running code from them."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from gan_lightning.errors import CheckpointError

FORMAT = 1
"""Raised when older checkpoints can no longer be read."""


def write_atomically(path: str | os.PathLike, write: Any) -> None:
    """Calls `write(file)` on a temporary file beside `path`, which then takes its place.

    A reader, and a run killed at any moment, sees the old file or the new one, never half of either.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except (RuntimeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, OSError, KeyError) as error:
        reason = "not a whole checkpoint" if not zipfile.is_zipfile(path) else "not a checkpoint of gan_lightning"
        raise CheckpointError(f"{path}: {reason} (cut short, or written by another program)") from error
    if not isinstance(content, dict) or "gan_lightning" not in content:
        raise CheckpointError(f"{path}: not a checkpoint of gan_lightning")
    if content["gan_lightning"]["format"] > FORMAT:
        raise CheckpointError(f"{path}: written by a newer gan_lightning "
                              f"({content['gan_lightning']['version']}); update this one")
    return content


def locate(path: str | os.PathLike) -> Path:
    """The checkpoint file meant by a file or a run directory."""
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for candidate in (path / "checkpoints" / "last.ckpt", path / "last.ckpt"):
            if candidate.is_file():
                return candidate
        raise CheckpointError(f"{path}: holds no checkpoint (looked for checkpoints/last.ckpt)")
    raise CheckpointError(f"{path}: no such checkpoint file or run directory")


def newest(run_dir: Path) -> Path | None:
    """What `ckpt_path=last` means: this run's last checkpoint, else the newest one of the runs beside it."""
    own = run_dir / "checkpoints" / "last.ckpt"
    if own.is_file():
        return own
    others = run_dir.parent.glob("*/checkpoints/last.ckpt")
    return max(others, key=lambda path: path.stat().st_mtime, default=None)
