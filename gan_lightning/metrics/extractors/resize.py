"""What networks trained on photographs ask of images: three channels, and one size."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_lightning.errors import ConfigError


def check_channels(extractor: str, channels: int) -> None:
    """Raises ConfigError unless images are grey or in colour."""
    if channels not in (1, 3):
        raise ConfigError(f"data.channels={channels}: the extractor {extractor} looks at images of 1 or 3 channels; "
                          f"choose one that is made for these data, such as metrics=random_conv")


def as_rgb(images: Tensor) -> Tensor:
    """(b, 1 or 3, H, W) -> (b, 3, H, W): grey is repeated."""
    return images.expand(-1, 3, -1, -1)


def tf1_bilinear(images: Tensor, size: int) -> Tensor:
    """Bilinear without antialiasing, as TensorFlow 1 had it: output pixel i samples the input at i * in / out.

    There is no half-pixel offset, so images are shifted, and shrinking skips pixels. FID and IS were defined with
    it. Bit by bit what torch-fidelity computes, which takes 1-d interpolations in the same order at every pixel of the
    output; here each row of the input is interpolated once.

    Args:
        images: (b, C, H, W), any dtype.

    Returns:
        float32 (b, C, size, size), in the units of `images`.
    """
    images = images.float()
    return _lerp(_lerp(images, 3, size), 2, size)


def _lerp(x: Tensor, dim: int, size: int) -> Tensor:
    length = x.shape[dim]
    scale = torch.tensor(length / size, dtype=torch.float32, device=x.device)
    position = torch.arange(size, dtype=torch.float32, device=x.device) * scale
    before = position.long()
    after = (before + 1).clamp_max(length - 1)
    weight = (position - before.float()).view(-1, *[1] * (x.ndim - 1 - dim))
    start = x.index_select(dim, before)
    # Not torch.lerp, which may round once where this rounds twice.
    return x.index_select(dim, after).sub_(start).mul_(weight).add_(start)


def clean_bicubic(images: Tensor, size: int) -> Tensor:
    """Bicubic with antialiasing, as Pillow does it in floats (Parmar et al. 2022, arXiv:2104.11222, sec. 3).

    Overshoots are clamped to [0, 255]; nothing is rounded to whole numbers again.

    Args:
        images: (b, C, H, W) in [0, 255], any dtype.

    Returns:
        float32 (b, C, size, size) in [0, 255].
    """
    return interpolate(images.float(), (size, size), mode="bicubic", antialias=True).clamp_(0, 255)
