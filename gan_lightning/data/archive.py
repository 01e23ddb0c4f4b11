"""Files in a directory or, without extracting it, in a .zip. Standard library only."""

import io
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from gan_lightning.errors import DataError


class Directory:
    """The files below a folder, named by their path relative to it, with forward slashes."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def names(self) -> list[str]:
        names, seen = [], set()
        for folder, subfolders, files in os.walk(self.root, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:                            # a link back to a folder above
                subfolders.clear()
                continue
            seen.add(real)
            relative = Path(folder).relative_to(self.root).as_posix()
            names += files if relative == "." else [f"{relative}/{name}" for name in files]
        return names

    def open(self, name: str) -> BinaryIO:
        return open(self.root / name, "rb")


class Zip:
    """The files in a .zip. Threads share one handle; a process that was forked or spawned opens its own."""

    def __init__(self, path: str | Path) -> None:
        self.root = Path(path)
        self._pid, self._zip = 0, None
        self._handle()

    def names(self) -> list[str]:
        return [entry.filename for entry in self._handle().infolist() if not entry.is_dir()]

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self._handle().read(name))

    def _handle(self) -> zipfile.ZipFile:
        if self._pid != os.getpid():
            try:
                self._zip, self._pid = zipfile.ZipFile(self.root), os.getpid()
            except (OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{self.root} cannot be read as a .zip: {error}") from error
        return self._zip

    def __getstate__(self) -> dict:
        return {"root": self.root, "_pid": 0, "_zip": None}


def open_archive(root: str | Path, option: str = "data.root") -> Directory | Zip:
    """The folder or .zip at `root`, which `option` gave. Raises DataError if there is neither."""
    path = Path(root).expanduser()
    if path.is_dir():
        return Directory(path)
    if not path.exists():
        raise DataError(f"{option}={root} does not exist; give a folder or a .zip of images")
    if path.suffix.lower() != ".zip":
        raise DataError(f"{option}={root} is neither a folder nor a .zip; give one that holds images")
    return Zip(path)
