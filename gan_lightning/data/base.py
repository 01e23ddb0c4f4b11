"""What every data set is: a `Source` per split, and an endless loader over the one that is trained on."""

from typing import Literal

import torch
from torch import Tensor

from gan_lightning.data.images import fit
from gan_lightning.data.loader import Loader
from gan_lightning.data.sources import InMemory, Resized, Source
from gan_lightning.errors import ConfigError

Split = Literal["train", "test"]


def to_float(real: Tensor) -> Tensor:
    """uint8 images -> float32 in [-1, 1]; points, which are float already, pass through."""
    return real.float().div_(127.5).sub_(1.0) if real.dtype == torch.uint8 else real


class ImageData:
    """A data set. A subclass says how a split is loaded (`load`) and, if need be, fetched (`prepare`).

    resolution, channels: of the images handed out; anything else is cropped, resized and converted to it.
    num_classes: the number of classes of the set, or 0 to hand out no labels.
    batch_size: images per batch and process.  split: the part that `loader` draws from.
    memory_gb: a set of up to this many 10^9 bytes is held as one uint8 tensor, in each process; a larger one
        is streamed by `workers` processes.
    device: where a set that is held lives. "gpu" gathers batches there, and no image crosses the bus again.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, batch_size: int = 64,
                 hflip: bool = False, split: Split = "train", workers: int = 2, memory_gb: float = 4.0,
                 device: Literal["cpu", "gpu"] = "cpu") -> None:
        for name, value, least in (("resolution", resolution, 1), ("channels", channels, 1),
                                   ("num_classes", num_classes, 0), ("batch_size", batch_size, 1),
                                   ("workers", workers, 0), ("memory_gb", memory_gb, 0)):
            if value < least:
                raise ConfigError(f"data.{name}={value}: must be at least {least}")
        for name, value, allowed in (("split", split, ("train", "test")), ("device", device, ("cpu", "gpu"))):
            if value not in allowed:
                raise ConfigError(f"data.{name}={value}: must be {' or '.join(allowed)}")
        self.resolution, self.channels, self.num_classes = resolution, channels, num_classes
        self.batch_size, self.hflip, self.split = batch_size, hflip, split
        self.workers, self.memory_gb, self.device = workers, memory_gb, device
        self._sources: dict[str, Source] = {}
        self._on_device: InMemory | None = None

    def prepare(self) -> None:
        """Downloads and extracts what is missing. Called on one process of each machine, before `source`."""

    def load(self, split: Split) -> Source:
        """Reads one split. Raises DataError when it is missing, empty or damaged."""
        raise NotImplementedError

    def source(self, split: Split | None = None) -> Source:
        """Random access to a split (by default the one trained on); read once per process."""
        split = split or self.split
        if split not in self._sources:
            self._sources[split] = self.load(split)
        return self._sources[split]

    def count(self, split: Split | None = None) -> int:
        """The number of images in a split."""
        return len(self.source(split))

    def check(self) -> None:
        """Reads the split that is trained on; ConfigError if it does not fill a batch."""
        count = len(self.source())
        if count < self.batch_size:
            raise ConfigError(f"data.batch_size={self.batch_size}: the {self.split} set has only "
                              f"{count} images; choose a batch size of at most {count}")

    def loader(self, *, batches_per_step: int, seed: int, start: int = 0, rank: int = 0,
               world_size: int = 1, device: torch.device | None = None) -> Loader:
        """Endless batches, `batches_per_step` of them joined in one item; see `Loader` for their order.

        start: images handed out so far, over all processes: the position to go on from.
        device: where the training runs. Batches arrive there only if the set is held there (data.device=gpu).
        """
        self.check()
        source = self.source()
        if self.device == "gpu":
            source = self._moved(source, device)
        pin_memory = self.device == "cpu" and device is not None and device.type == "cuda"
        return Loader(source, batch_size=self.batch_size, batches_per_step=batches_per_step, seed=seed,
                      start=start, rank=rank, world_size=world_size, hflip=self.hflip,
                      workers=self.workers, pin_memory=pin_memory)

    def order_depends_on(self, world_size: int) -> dict[str, int]:
        """What, besides the seed and the images, decides which image comes when, for a checkpoint: here, nothing."""
        return {}

    def fits(self, count: int) -> bool:
        """Whether `count` images of this resolution are within the memory budget."""
        return count * self.channels * self.resolution**2 <= self.memory_gb * 1e9

    def hold(self, images: Tensor, label: Tensor | None, mode: str = "bicubic") -> Source:
        """A source of uint8 images (N, c, h, w) of any size: resized now, or when taken if too big."""
        if self.fits(len(images)):
            return InMemory(fit(images, self.resolution, self.channels, mode), label)
        return Resized(images, label, self.resolution, self.channels, mode)

    def labels(self, label: Tensor | None, classes: int) -> Tensor | None:
        """The labels to hand out: none if num_classes is 0. ConfigError if the set has another number."""
        if self.num_classes not in (0, classes):
            raise ConfigError(f"data.num_classes={self.num_classes}: this set has {classes} classes; "
                              f"choose {f'{classes}, or 0 for no labels' if classes else '0'}")
        return label if self.num_classes else None

    def _moved(self, source: Source, device: torch.device | None) -> InMemory:
        if device is None or device.type == "cpu":
            raise ConfigError("data.device=gpu: the training runs on the CPU; choose data.device=cpu")
        if not isinstance(source, InMemory):
            size = len(source) * self.channels * self.resolution**2 / 1e9
            raise ConfigError(f"data.device=gpu: the set takes {size:.1f} GB, but "
                              f"data.memory_gb={self.memory_gb}; raise it, or choose data.device=cpu")
        if self._on_device is None or self._on_device.real.device != device:
            self._on_device = source.to(device)
        return self._on_device
