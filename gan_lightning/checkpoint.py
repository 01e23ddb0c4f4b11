"""Checkpoint files: written whole or not at all, found again, and read without running code from them."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gan_lightning.errors import CheckpointError

FORMAT = 1
"""Raised when older checkpoints can no longer be read."""


LAST = Path("checkpoints") / "last.ckpt"
"""A run's newest checkpoint, within its directory."""

PREVIOUS = LAST.with_name("previous.ckpt")
"""The one before it."""

BEST = LAST.with_name("best.ckpt")
"""The one whose principal score was best."""

HEALTHY = LAST.with_name("healthy.ckpt")
"""The state at the watchdog's last look that found nothing wrong."""

KEPT = "kimg_*.ckpt"
"""Names of those that are kept for good, in the order of time."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint file is empty, cut short, or not what was written."""


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], Any]) -> None:
    """Calls `write(file)` on a temporary file beside `path`, which then takes its place.

    A reader, and a run killed at any moment, sees the old file or the new one, never half of either.

    Raises:
        OSError: disk full and the like; what had the name before is as it was, and nothing is left behind.
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
    except RuntimeError as error:  # torch.save stumbles over an OSError, and raises what it stumbled over
        found = _system_error(error)
        if found is None:
            raise
        raise found from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def replace_by_link(source: Path, target: Path) -> None:
    """Makes `target` another name of the file `source`, in place of what had it; `source` may be replaced later."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        write_atomically(target, lambda file: _copy(source, file))
        return
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # it is still there if both were names of one file
    _sync_folder(target.parent)


def rename(source: Path, target: Path) -> None:
    """`target` becomes the name of the file `source`, for good."""
    os.replace(source, target)
    _sync_folder(target.parent)


def _copy(source: Path, file: BinaryIO) -> None:
    with open(source, "rb") as content:
        shutil.copyfileobj(content, file, 2**20)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # a new name itself must survive a power cut
    finally:
        os.close(descriptor)


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def read_checkpoint(path: str | os.PathLike, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint of ours; no code in it is run.

    Raises:
        DamagedCheckpoint: empty, cut short, or with bytes that differ from those written.
        CheckpointError: missing, unreadable, or written by something else.
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
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:
        raise DamagedCheckpoint(f"{path}: not a whole checkpoint (cut short, or written by another program)"
                                f"{_other(path)}") from error
    if damaged:
        raise DamagedCheckpoint(f"{path}: not a whole checkpoint ({damaged} is damaged){_other(path)}")


def _other(path: Path) -> str:
    previous = path.with_name(PREVIOUS.name)
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


def checkpoints_in(folder: Path) -> list[Path]:
    """All checkpoints of a run directory, or of its folder of checkpoints, in the order in which a resume tries them.

    The best and the healthy one come last: other callbacks had not acted in their step when they were written.
    """
    for place in (folder / LAST.parent, folder):
        names = [LAST.name, PREVIOUS.name, *sorted((path.name for path in place.glob(KEPT)), reverse=True), BEST.name,
                 HEALTHY.name]
        found = [place / name for name in names if (place / name).is_file()]
        if found:
            return found
    return []


def newest_run(beside: Path) -> Path | None:
    """Of the runs whose directories lie beside `beside`, the one that was saved last."""
    others = beside.parent.glob(f"*/{LAST}")
    last = max(others, key=lambda path: path.stat().st_mtime, default=None)
    return last.parents[1] if last else None
