"""Lightning's door to our checkpoint files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from gan_lightning.checkpoint import read_checkpoint, write_atomically
from gan_lightning.metrics.together import on_first


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces Lightning's writer, which may leave an empty file when killed while overwriting one."""

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[str, dict[str, Any]] = {}
        self._noting, self._error = False, None

    def keep(self, path: Path, content: dict[str, Any]) -> None:
        """Spares Lightning from reading a file that has been read already. It is handed out once."""
        self._read = {str(path): content}

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Within, a failing write is noted and not raised: the first device writes, and all others wait for it."""
        self._noting, self._error = True, None
        try:
            yield
        finally:
            self._noting = False

    @property
    def reason(self) -> str | None:
        """Why the last write within `noting` failed, on the device that wrote."""
        return self._error

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            write_atomically(path, lambda file: torch.save(checkpoint, file))
        except OSError as error:
            if not self._noting:
                raise
            self._error = error.strerror or str(error)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return self._read.pop(str(path), None) or read_checkpoint(path, map_location or "cpu")


def save(trainer: L.Trainer, path: Path) -> str | None:
    """Writes a checkpoint; None, or on all devices why the system did not let it be written. Call it on all devices."""
    writer = trainer.strategy.checkpoint_io
    with writer.noting():
        trainer.save_checkpoint(path)
    return on_first(lambda: writer.reason)
