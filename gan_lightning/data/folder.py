"""A folder or .zip of your own images."""

import torch

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.decoded import Decoded, OnError, load_images
from gan_lightning.data.inspect import list_images
from gan_lightning.data.sources import Source


class Folder(ImageData):
    """PNG, JPEG, WebP or BMP of any mode and size, in a directory or a .zip, flat or one folder per class,
    with or without folders train and test. `inspect.list_images` has the rules for folders, `images.decode`
    those for pixels.

    on_error: "raise" stops at the first image that cannot be read; "skip" leaves such images out and names
        them.
    files, class_names: what was found, per split that has been read.
    """

    def __init__(self, root: str, on_error: OnError = "raise", **loading) -> None:
        super().__init__(**loading)
        self.root, self.on_error = root, on_error
        self.files: dict[Split, Decoded] = {}
        self.class_names: tuple[str, ...] = ()

    def load(self, split: Split) -> Source:
        listing = list_images(self.root)
        listing.check(split)
        classes, labels = len(listing.classes), listing.labels.get(split)
        label = self.labels(None if labels is None else torch.tensor(labels), classes)
        files = Decoded(listing.archive, listing.names[split], label, self.resolution, self.channels,
                        self.on_error)
        self.files[split], self.class_names = files, listing.classes
        remarks = f", {classes} classes" if classes else ", no classes"
        if listing.ignored:
            remarks += f", {listing.ignored:,} other files ignored"
        return load_images(files, self.fits(len(files)), f"{self.root} ({split})", remarks)
