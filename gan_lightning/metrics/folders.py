"""Two folders or .zips of images for comparison, at the size they are stored in: no crop, no filter, no checkpoint.

Every filter moves a score (Parmar et al. 2022, arXiv:2104.11222), so sets that differ in size are refused, not mended.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.decoded import Decoded, FileKind, load_images
from gan_lightning.data.images import decode
from gan_lightning.data.inspect import GREY, Listing, list_images
from gan_lightning.data.sources import Source
from gan_lightning.errors import ConfigError, DataError

TRANSPOSED = (5, 6, 7, 8)                               # EXIF orientations that swap width and height
ORIENTATION = 0x0112                                    # EXIF tag
METADATA = {"exif", "xmp", "XML:com.adobe.xmp"}         # keys of Pillow's `info` that may hold it
COLOUR = {1: "grey", 3: "colour"}
AS_CHANNELS = "give channels=3 to compare all as RGB, or channels=1 as grey"


class ComparedFolder(ImageData):
    """One of two sets to compare. `role`: what it is to the other, "fake" or "real".

    size: (H, W) of every image.  resolution: the smaller of the two.
    num_classes: 0 to hand out no labels.  split: the one that is compared; `source` gives others too.
    cropped: whether images of another size are cropped to a square and resized, as for training, or refused.
    converted: whether grey images may be among colour ones, or refused.
    files: what was found, per split that has been read.
    """

    def __init__(self, role: str, listing: Listing, split: Split, size: tuple[int, int], channels: int,
                 num_classes: int = 0, cropped: bool = False, converted: bool = False, memory_gb: float = 4.0) -> None:
        super().__init__(resolution=min(size), channels=channels, num_classes=num_classes, split=split,
                         memory_gb=memory_gb)
        self.role, self.root, self.listing, self.size = role, listing.root, listing, size
        self.cropped, self.converted = cropped, converted
        self.files: dict[Split, Decoded] = {}
        self.class_names = listing.classes

    def load(self, split: Split) -> Source:
        self.listing.check(split)
        labels = self.listing.labels.get(split)
        label = self.labels(None if labels is None else torch.tensor(labels), len(self.class_names))
        files = _Files(self, self.listing.names[split], label)
        self.files[split] = files
        remarks = f", {self.num_classes} classes" if self.num_classes else ""
        return load_images(files, self.fits(len(files)), f"{self.role}={self.root} ({split})", remarks)

    def fits(self, count: int) -> bool:
        return count * self.channels * self.size[0] * self.size[1] <= self.memory_gb * 1e9


class _Files(Decoded):
    """Files that must be alike, unless they are made so."""

    def __init__(self, data: ComparedFolder, names: list[str], label: Tensor | None) -> None:
        super().__init__(data.listing.archive, names, label, data.size[0], data.channels)
        self.role, self.size, self.cropped, self.converted = data.role, data.size, data.cropped, data.converted
        self.example = self.where(0)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, *self.size

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        with ThreadPoolExecutor(max_workers=8) as pool:
            images = list(pool.map(lambda index: self._read(index)[1], indices.tolist()))
        batch = {"real": torch.from_numpy(np.stack(images))}
        return batch if self.label is None else batch | {"label": self.label[indices]}

    def kind(self, index: int, image: Image.Image) -> FileKind:
        kind, size, channels = super().kind(index, image), displayed(image), channels_of(image)
        if not self.cropped and size != self.size:
            raise DataError(f"{self.role} images differ in size: {self.example} is {_by(self.size)}, "
                            f"{self.where(index)} {_by(size)}; {_equal('all')}")
        if not self.converted and channels != self.channels:
            raise DataError(f"{self.role} images are partly grey: {self.example} is {COLOUR[self.channels]}, "
                            f"{self.where(index)} {COLOUR[channels]}; {AS_CHANNELS}")
        return kind

    def pixels(self, image: Image.Image) -> np.ndarray:
        return decode(image, self.size[0] if self.cropped else None, self.channels)

    def damaged(self, index: int, reason: str) -> DataError:
        return DataError(f"{self.role} image {self.where(index)} cannot be read ({reason}); mend or remove it")


def open_pair(fake: str, real: str, resolution: int | None = None, channels: int | None = None, split: Split = "train",
              fake_split: Split | None = None, memory_gb: float = 4.0) -> tuple[ComparedFolder, ComparedFolder]:
    """Both sets, read and checked: (fake, real), at one size and with equally many channels.

    resolution: a side to crop and resize both to, as training data are; by default images stay as they are stored, and
        all must have one size, square or not.
    channels: 1 or 3 to convert both; by default both must be grey, or both colour.
    split: of `real`. fake_split: of `fake`; by default the same if it has that, else the only one it has.
    memory_gb: each set is held in memory up to this many 10^9 bytes, and read as it is needed beyond.

    Labels are handed out where there are folders for classes: the fakes' if all their classes are among the reals'.

    Raises:
        ConfigError, DataError: a setting that cannot be; sets that are missing, damaged or unlike each other.
    """
    if resolution is not None and resolution < 1:
        raise ConfigError(f"resolution={resolution}: must be at least 1, or null to leave images as they are")
    if channels not in (None, 1, 3):
        raise ConfigError(f"channels={channels}: must be 1 (grey), 3 (RGB), or null to leave images as they are")
    fakes, reals = list_images(fake, "fake"), list_images(real, "real")
    if fake_split is None:
        fake_split = split if split in fakes.names or len(fakes.names) > 1 else next(iter(fakes.names))
    sizes, colours = zip(_first(fakes, "fake", fake_split), _first(reals, "real", split), strict=True)
    examples = [f"{listing.root}/{listing.names[s][0]}" for listing, s in ((fakes, fake_split), (reals, split))]
    if resolution is None and sizes[0] != sizes[1]:
        raise DataError(f"fake images are {_by(sizes[0])} (e.g. {examples[0]}), real ones {_by(sizes[1])} "
                        f"(e.g. {examples[1]}); {_equal('both')}")
    if channels is None and colours[0] != colours[1]:
        raise DataError(f"fake images are {COLOUR[colours[0]]} (e.g. {examples[0]}), real ones {COLOUR[colours[1]]} "
                        f"(e.g. {examples[1]}); {AS_CHANNELS}")
    common = {"size": (resolution, resolution) if resolution else sizes[1], "channels": channels or colours[1],
              "cropped": resolution is not None, "converted": channels is not None, "memory_gb": memory_gb}
    fakes, classes = _as_classes_of(reals, fakes), _shared(reals, fakes)
    pair = (ComparedFolder("fake", fakes, fake_split, num_classes=classes, **common),
            ComparedFolder("real", reals, split, num_classes=len(reals.classes), **common))
    for data in pair:
        data.source()
    return pair


def open_like(fake: str, data: ImageData, split: Split | None = None) -> ComparedFolder:
    """A folder or .zip of fakes to be compared with a data set of the framework: of its resolution and channels.

    split: of the folder; by default the train split, else the only one it has.

    Raises:
        DataError: missing, damaged, or of another size or number of channels.
    """
    listing = list_images(fake, "fake")
    if split is None:
        split = "train" if "train" in listing.names or len(listing.names) > 1 else next(iter(listing.names))
    size, channels = _first(listing, "fake", split)
    wanted = (data.resolution, data.resolution)
    if (size, channels) != (wanted, data.channels):
        raise DataError(f"fake={fake}: its images are {_by(size)} and {COLOUR[channels]}, the data's {_by(wanted)} and "
                        f"{COLOUR.get(data.channels, data.channels)}; choose data.resolution={size[0]} "
                        f"data.channels={channels}, or make them equal")
    classes = data.num_classes if len(listing.classes) == data.num_classes else 0
    folder = ComparedFolder("fake", listing, split, wanted, data.channels, classes, memory_gb=data.memory_gb)
    folder.source()
    return folder


def lossy_share(data: ImageData, split: Split | None = None) -> float:
    """The share of files saved with loss (JPEG, lossy WebP), as their contents tell; 0 for a set that has no files.

    The set must have been read. JPEG at quality 75 alone moves FID by units (Parmar et al. 2022, arXiv:2104.11222).
    """
    files: Decoded | None = getattr(data, "files", {}).get(split or data.split)
    if files is None or not files.kinds:
        return 0.0
    return sum(count for kind, count in files.kinds.items() if kind.lossy) / files.kinds.total()


def displayed(image: Image.Image) -> tuple[int, int]:
    """(H, W) of an opened image after it has been turned as its EXIF data ask."""
    # To ask a PNG that has none of these for its orientation would read all of it.
    turned = METADATA & image.info.keys() and image.getexif().get(ORIENTATION) in TRANSPOSED
    return image.size if turned else image.size[::-1]


def channels_of(image: Image.Image) -> int:
    """1 for an image stored as grey, else 3."""
    return 1 if image.mode in GREY else 3


def _first(listing: Listing, role: str, split: Split) -> tuple[tuple[int, int], int]:
    """(H, W) and channels of the first image of a split that must have two images or more."""
    listing.check(split)
    names = listing.names[split]
    if len(names) < 2:
        raise DataError(f"{role}={listing.root} has only 1 image ({names[0]}); a comparison needs at least 2")
    files = Decoded(listing.archive, names, None, 1, 1)
    found, reason = files.visit(0, lambda image: (displayed(image), channels_of(image)))
    if reason:
        raise DataError(f"{role} image {files.where(0)} cannot be read ({reason}); mend or remove it")
    return found


def _shared(reals: Listing, fakes: Listing) -> int:
    """The number of classes of the reals, if the fakes have no others; else 0."""
    return len(reals.classes) if fakes.classes and set(fakes.classes) <= set(reals.classes) else 0


def _as_classes_of(reals: Listing, fakes: Listing) -> Listing:
    """The fakes, with the numbers that the reals' classes have where they share them."""
    if not _shared(reals, fakes):
        return fakes
    number = [reals.classes.index(name) for name in fakes.classes]
    labels = {split: [number[label] for label in labels] for split, labels in fakes.labels.items()}
    return Listing(fakes.root, fakes.archive, reals.classes, fakes.names, labels, fakes.ignored, fakes.option)


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def _equal(which: str) -> str:
    return f"make them equal, or give resolution=N to crop and resize {which}"
