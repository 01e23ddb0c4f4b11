"""Results that cost time, kept on disk under all that they depend on."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from gan_lightning.checkpoint import write_atomically

log = logging.getLogger("gan_lightning")
Arrays = dict[str, np.ndarray]
FOLDER = "GAN_LIGHTNING_CACHE"


def default_folder() -> Path:
    """The environment variable GAN_LIGHTNING_CACHE, else gan_lightning/ in the user's cache folder."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gan_lightning"


def digest(fields: Any, length: int = 32) -> str:
    """A hexadecimal name for plain data: equal data, equal name."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


class Cache:
    """Arrays by the description of what they were computed from; nothing in a file is ever executed.

    A file is written whole or not at all, so that runs and processes may share a folder. One that cannot be read, or
    describes something else, counts as missing. A folder that cannot be written to costs a warning, not the run.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder).expanduser() if folder else default_folder()
        self._warned = False

    def path(self, fields: dict[str, Any]) -> Path:
        return self.folder / f"{fields['kind']}-{digest(fields)}.npz"

    def get(self, fields: dict[str, Any]) -> Arrays | None:
        """What `put` was given under these `fields`; None if there is nothing. `fields["kind"]` names the sort."""
        try:
            with np.load(self.path(fields), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # noqa: BLE001 - a damaged file can fail in any way
            log.warning("%s cannot be read (%s) and is made again", self.path(fields), error)
            return None
        return arrays if arrays.pop("fields", np.str_("")).item() == _text(fields) else None

    def put(self, fields: dict[str, Any], arrays: Arrays) -> None:
        try:
            write_atomically(self.path(fields), lambda file: np.savez(file, fields=np.str_(_text(fields)), **arrays))
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("%s cannot be written to (%s): the same work will be done again in other runs; choose "
                            "another folder by metrics.cache", self.folder, error.strerror or error)


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True)
