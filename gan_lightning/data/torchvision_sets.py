"""torchvision's data sets: downloaded once, then read as whole arrays."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from gan_lightning.data.archive import Directory
from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.decoded import Decoded, load_images
from gan_lightning.data.sources import Source
from gan_lightning.errors import DataError

T = TypeVar("T")


class TorchvisionData(ImageData):
    """A set that torchvision downloads and reads. root: the folder for downloads, shared by all sets."""

    name: str                                           # as in data=NAME
    folder: str                                         # below root, where torchvision keeps the files
    classes: int = 10
    pieces: tuple[Split, ...] = ("train",)              # the splits to ask for until all is downloaded

    def __init__(self, root: str = "data", **loading) -> None:
        super().__init__(**loading)
        self.root = str(Path(root).expanduser())

    def open(self, split: Split, download: bool) -> datasets.VisionDataset:
        """torchvision's own object for a split."""
        raise NotImplementedError

    def arrays(self, dataset: datasets.VisionDataset) -> tuple[Tensor, Tensor]:
        """Its images, uint8 (N, C, H, W), and labels (N,)."""
        raise NotImplementedError

    def prepare(self) -> None:
        for split in self.pieces:
            self._try(partial(self.open, split, download=True))

    def load(self, split: Split) -> Source:
        images, label = self.arrays(self._try(partial(self.open, split, download=False)))
        return self.hold(images, self.labels(label.long(), self.classes))

    def _try(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - no network, a moved server, a cut file, a missing package
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"data={self.name} cannot be downloaded or read ({reason}); put its files into "
                            f"{Path(self.root, self.folder).resolve()}, or work offline with data=digits or "
                            f"data=folder data.root=PATH") from error


class MNIST(TorchvisionData):
    """LeCun et al. 1998: 70,000 digits, grey, 28 px."""

    name, folder, kind = "mnist", "MNIST/raw", datasets.MNIST

    def open(self, split: Split, download: bool) -> datasets.MNIST:
        return self.kind(self.root, train=split == "train", download=download)

    def arrays(self, dataset: datasets.MNIST) -> tuple[Tensor, Tensor]:
        return dataset.data[:, None], dataset.targets


class FashionMNIST(MNIST):
    """Xiao et al. 2017: 70,000 pieces of clothing, grey, 28 px."""

    name, folder, kind = "fashion_mnist", "FashionMNIST/raw", datasets.FashionMNIST


class KMNIST(MNIST):
    """Clanuwat et al. 2018: 70,000 cursive Japanese characters, grey, 28 px."""

    name, folder, kind = "kmnist", "KMNIST/raw", datasets.KMNIST


class CIFAR10(TorchvisionData):
    """Krizhevsky 2009: 60,000 photos, 32 px."""

    name, folder, kind = "cifar10", "cifar-10-batches-py", datasets.CIFAR10

    def open(self, split: Split, download: bool) -> datasets.CIFAR10:
        return self.kind(self.root, train=split == "train", download=download)

    def arrays(self, dataset: datasets.CIFAR10) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(dataset.data).permute(0, 3, 1, 2), torch.tensor(dataset.targets)


class CIFAR100(CIFAR10):
    """Krizhevsky 2009: 60,000 photos in 100 (fine) classes, 32 px."""

    name, folder, kind, classes = "cifar100", "cifar-100-python", datasets.CIFAR100, 100


class SVHN(TorchvisionData):
    """Netzer et al. 2011: 99,289 house numbers (without the `extra` part), 32 px; class 0 is the digit 0."""

    name, folder, pieces = "svhn", ".", ("train", "test")

    def open(self, split: Split, download: bool) -> datasets.SVHN:
        return datasets.SVHN(self.root, split=split, download=download)

    def arrays(self, dataset: datasets.SVHN) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.ascontiguousarray(dataset.data)), torch.from_numpy(dataset.labels)


class STL10(TorchvisionData):
    """Coates et al. 2011: 5,000 + 8,000 labelled photos, 96 px.

    unlabeled: train on its 100,000 photos without labels instead (then num_classes is 0).
    """

    name, folder = "stl10", "stl10_binary"

    def __init__(self, root: str = "data", unlabeled: bool = False, **loading) -> None:
        super().__init__(root, **loading)
        self.unlabeled = unlabeled
        self.classes = 0 if unlabeled else 10

    def open(self, split: Split, download: bool) -> datasets.STL10:
        name = "unlabeled" if split == "train" and self.unlabeled else split
        return datasets.STL10(self.root, split=name, download=download)

    def arrays(self, dataset: datasets.STL10) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.ascontiguousarray(dataset.data)), torch.from_numpy(dataset.labels)


class CelebA(TorchvisionData):
    """Liu et al. 2015, aligned and cropped: 162,770 faces to train on, 19,962 to test, 178 x 218; no classes.

    The central 178 x 178 are resized to `resolution`.
    """

    name, folder, classes = "celeba", "celeba", 0

    def open(self, split: Split, download: bool) -> datasets.CelebA:
        return datasets.CelebA(self.root, split=split, download=download)

    def load(self, split: Split) -> Source:
        names = self._try(partial(self.open, split, download=False)).filename
        archive = Directory(Path(self.root, self.folder, "img_align_celeba"))
        files = Decoded(archive, list(names), self.labels(None, 0), self.resolution, self.channels)
        self.files = {**getattr(self, "files", {}), split: files}  # for whoever asks what they are like
        return load_images(files, self.fits(len(files)), f"celeba ({split})")
