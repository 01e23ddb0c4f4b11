"""Random access to the samples of a split: `take` some by index, as a batch."""

from typing import Protocol

import torch
from torch import Tensor

from gan_lightning.data.images import fit


class Source(Protocol):
    label: Tensor | None  # int64 (N,), of all samples

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        """indices int64 (n,) -> real: uint8 (n, C, H, W) or float32 (n, 2); label: int64 (n,), if any."""


class InMemory:
    """A set held as one tensor, so that a batch is one gather. real (N, ...), label int64 (N,) or None."""

    def __init__(self, real: Tensor, label: Tensor | None = None) -> None:
        self.real, self.label = real.contiguous(), label

    def __len__(self) -> int:
        return len(self.real)

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        indices = indices.to(self.real.device)
        batch = {"real": self.real.index_select(0, indices)}
        if self.label is not None:
            batch["label"] = self.label.index_select(0, indices)
        return batch

    def to(self, device: torch.device) -> "InMemory":
        return InMemory(self.real.to(device), None if self.label is None else self.label.to(device))


class Resized:
    """uint8 images held at their own size and resized when taken, for a set too big at `resolution`."""

    def __init__(self, images: Tensor, label: Tensor | None, resolution: int, channels: int,
                 mode: str = "bicubic") -> None:
        self._native = InMemory(images, label)
        self.label = label
        self._fit = {"resolution": resolution, "channels": channels, "mode": mode}

    def __len__(self) -> int:
        return len(self._native)

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        batch = self._native.take(indices)
        return batch | {"real": fit(batch["real"], **self._fit)}
