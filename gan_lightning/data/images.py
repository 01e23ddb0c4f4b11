"""Bringing images to one shape: centre crop to a square, antialiased resize, grey or RGB; all in 8 bit.

The filter is Pillow's bicubic (a = -0.5, widened when it shrinks an image), for files and tensors alike. What
filters without antialiasing do to images and to scores: Parmar et al. 2022, arXiv:2104.11222.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")         # Pillow's modes of 16-bit grey


def fit(images: Tensor, resolution: int, channels: int, mode: str = "bicubic") -> Tensor:
    """uint8 (N, c, h, w) -> uint8 (N, channels, resolution, resolution). What fits already is not touched."""
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = _convert(images[..., top:top + side, left:left + side], channels)
    if side == resolution:
        return images
    # Contiguous: torch has another kernel for channels-last, that may round another way.
    return F.interpolate(images.contiguous(), size=(resolution, resolution), mode=mode, antialias=True)


def _convert(images: Tensor, channels: int) -> Tensor:
    """Grey to RGB by repeating; RGB to grey by ITU-R 601 luma, in the fixed-point numbers of Pillow."""
    if images.shape[1] == channels:
        return images
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    red, green, blue = images.to(torch.int32).unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)[:, None]


def mirror(images: Tensor, flips: Tensor) -> Tensor:
    """(n, C, H, W) with those images mirrored left to right for which flips (n,) is true."""
    # On a CPU a gather of whole images takes a quarter of the time of torch.where on bytes.
    rows = torch.arange(len(images), device=images.device) + len(images) * flips
    return torch.cat((images, images.flip(-1))).index_select(0, rows)


def decode(image: Image.Image, resolution: int | None, channels: int) -> np.ndarray:
    """An opened image of any mode -> uint8 (channels, resolution, resolution), or of its own size if that is None.

    EXIF orientation is applied; 16-bit grey is divided by 257 (of 16-bit colour, Pillow reads the high byte);
    what is transparent is laid on white.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in WIDE:
        values = np.asarray(image).astype(np.float32).clip(0, 65535)
        image = Image.fromarray((values / 257.0).round().astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if resolution is not None and image.size != (resolution, resolution):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        image = image.resize((resolution, resolution), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
