"""Differentiable augmentation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_lightning.augment.base import Augment, check_images
from gan_lightning.augment.squares import outside_square
from gan_lightning.networks.layers import check_choice


class DiffAugment(Augment):
    """Every image D sees is changed at random (Zhao et al. 2020, arXiv:2006.10738).

    Args:
        policy: which changes are made, in this order. `color`: brightness by U(-0.5, 0.5), then saturation times
            U(0, 2) (nothing to grey images), then contrast times U(0.5, 1.5). `translation`: by whole pixels, up to
            1/8 of each side, filled up with zeros, a medium grey. `cutout`: a square of half the side becomes zero.
    """

    def __init__(self, policy: Sequence[str] = ("color", "translation", "cutout")):
        super().__init__()
        for name in policy:
            check_choice("augment.policy", name, _POLICIES)
        self.policy = tuple(policy)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, "diffaugment")
        for name in self.policy:
            x = _POLICIES[name](x)
        return x


def color(x: Tensor) -> Tensor:
    """Brightness, saturation and contrast, in this order."""
    x = x + _uniform(x, -0.5, 0.5)
    grey = x.mean(1, keepdim=True)
    x = torch.lerp(grey, x, _uniform(x, 0.0, 2.0)) if x.shape[1] > 1 else x
    return torch.lerp(x.mean((1, 2, 3), keepdim=True), x, _uniform(x, 0.5, 1.5))


def translation(x: Tensor, share: float = 0.125) -> Tensor:
    """By whole pixels, up to `share` of each side in each direction; what comes in is zero."""
    for dim in (2, 3):
        x = _shifted(x, dim, int(x.shape[dim] * share + 0.5))
    return x


def cutout(x: Tensor, share: float = 0.5) -> Tensor:
    """A square of `share` of the side becomes zero."""
    return x * outside_square(x, share)


def _shifted(x: Tensor, dim: int, most: int) -> Tensor:
    n, size = len(x), x.shape[dim]
    by = torch.randint(-most, most + 1, (n, 1), device=x.device)
    source = torch.arange(size, device=x.device) - by  # (N, size)
    shape = [n, 1, 1, 1]
    shape[dim] = size
    inside = ((source >= 0) & (source < size)).view(shape)
    return x.gather(dim, source.clamp(0, size - 1).view(shape).expand_as(x)) * inside


def _uniform(x: Tensor, low: float, high: float) -> Tensor:
    """One number for each image, (N, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) * (high - low) + low


_POLICIES = {"color": color, "translation": translation, "cutout": cutout}
