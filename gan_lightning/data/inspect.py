"""What a folder or .zip of images holds, from its names and a few headers.

Standard library and Pillow only: composing a config asks these questions, and must not wait for torch.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from PIL import Image

from gan_lightning.data.archive import Directory, Zip, open_archive
from gan_lightning.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SPLITS = {"train": "train", "training": "train",
          "test": "test", "testing": "test", "val": "test", "valid": "test", "validation": "test"}
LOSSY = {"JPEG", "MPO", "JPEG2000", "AVIF"}              # Pillow's formats; WebP may be either
GREY = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}      # Pillow's modes
HEADERS = 32                                                              # images that image_channels opens


@dataclass(frozen=True)
class Listing:
    """The images of a set. names[split] is sorted; labels[split] are indices into `classes`, () if flat."""

    root: str
    archive: Directory | Zip
    classes: tuple[str, ...] = ()
    names: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, list[int]] = field(default_factory=dict)
    ignored: int = 0                            # hidden files, __MACOSX, and what is not an image
    option: str = "data.root"                   # the setting that gave `root`, for messages

    def check(self, split: str) -> None:
        """Raises DataError unless `split` is there."""
        if split not in self.names:
            chosen = {"data.root": "data.split", "fake": "fake_split"}.get(self.option, "split")
            raise DataError(f"{self.option}={self.root} has no {split} folder, only {' and '.join(self.names)}; "
                            f"choose {chosen}={next(iter(self.names))}, or add one")


def list_images(root: str, option: str = "data.root") -> Listing:
    """Finds splits and classes from the names of folders. Raises DataError if there is nothing to list.

    Below any folders that merely wrap the rest: folders called train and test (or val) are splits; without
    them, all is train. Then each folder is a class; one folder alone, or images beside folders, means none.
    """
    archive = open_archive(root, option)
    every = archive.names()
    images = sorted(name for name in every if _is_image(name))
    if not images:
        raise DataError(f"{option}={root} holds no images (PNG, JPEG, WebP or BMP)"
                        + (f", only {len(every)} other files" if every else ", it is empty"))
    paths = _unwrap([name.split("/") for name in images])
    tops = {path[0].lower() if len(path) > 1 else "" for path in paths}
    if tops <= SPLITS.keys():
        splits = [SPLITS[path[0].lower()] for path in paths]
        paths = [path[1:] for path in paths]
    else:
        splits = ["train"] * len(paths)
    folders = {path[0] if len(path) > 1 else "" for path in paths}
    classes = tuple(sorted(folders)) if "" not in folders and len(folders) > 1 else ()
    index = {name: i for i, name in enumerate(classes)}
    listing = Listing(str(root), archive, classes, ignored=len(every) - len(images), option=option)
    for name, split, path in zip(images, splits, paths, strict=True):
        listing.names.setdefault(split, []).append(name)
        if classes:
            listing.labels.setdefault(split, []).append(index[path[0]])
    return listing


def image_classes(root: str) -> int:
    """The number of class folders below `root`; 0 if the set is flat."""
    return len(_listed(str(root)).classes)


def image_channels(root: str) -> int:
    """1 if all of a sample of the images below `root` are grey (8 or 16 bit), else 3."""
    return _channels(str(root))


@lru_cache
def _channels(root: str) -> int:
    listing = _listed(root)
    names = [name for split in listing.names.values() for name in split]
    sample = names[::-(-len(names) // HEADERS)]
    modes = {mode for mode in (_mode(listing.archive, name) for name in sample) if mode}
    if not modes:
        raise DataError(f"data.root={root}: none of {len(sample)} images could be read, e.g. {sample[0]}")
    return 1 if modes <= GREY else 3


@lru_cache
def _listed(root: str) -> Listing:
    # Only for the two questions, which a config may ask ten times; who loads images lists them afresh.
    return list_images(root)


def _mode(archive: Directory | Zip, name: str) -> str | None:
    try:
        with archive.open(name) as stream, Image.open(stream) as image:
            return image.mode
    except Exception:  # noqa: BLE001 - Pillow's readers raise anything; loading will name the file
        return None


def is_lossy(archive: Directory | Zip, name: str, image_format: str) -> bool:
    """Whether a file of this format (as Pillow calls it) lost detail when it was saved: by content, not by name."""
    if image_format != "WEBP":
        return image_format in LOSSY
    with archive.open(name) as stream:
        return lossy_webp(stream)


def lossy_webp(stream: BinaryIO) -> bool:
    """Whether the first picture is a VP8 chunk, not VP8L: RFC 9649, section 2."""
    stream.seek(12)
    while len(header := stream.read(8)) == 8:
        kind, size = header[:4], int.from_bytes(header[4:], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        # A frame of an animation has 16 bytes of its own, and then chunks.
        stream.seek(16 if kind == b"ANMF" else size + size % 2, 1)
    return False


def _is_image(name: str) -> bool:
    hidden = name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name
    return not hidden and name.lower().endswith(EXTENSIONS)


def _unwrap(paths: list[list[str]]) -> list[list[str]]:
    """Drops leading folders that all the images share, unless one is the name of a split."""
    while all(len(path) > 1 for path in paths) and len({path[0] for path in paths}) == 1:
        if paths[0][0].lower() in SPLITS:
            break
        paths = [path[1:] for path in paths]
    return paths
