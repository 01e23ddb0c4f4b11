"""Lightning's door to our checkpoint files."""

from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from gan_lightning.checkpoint import read_checkpoint, write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces Lightning's writer, which may leave an empty file when killed while overwriting one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_atomically(path, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(path, map_location or "cpu")
