"""Residual networks for 32, 48, 64 and 128 px: SNGAN's, Miyato et al. 2018, arXiv:1802.05957, tables 4 to 6.

8 and 16 px are table 4's (32 px) with fewer blocks: ours, for small data and for tests.

With classes: conditional batch normalisation in G and a projection in D (Miyato & Koyama 2018,
arXiv:1802.05637), whose code also has the 64 px networks. The WGAN-GP networks of Gulrajani et al. 2017
(arXiv:1704.00028, appendix F) are these with 128 maps in both, `norm: none` and `pool: mean` in D.
"""

from itertools import pairwise
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.layers import (
    CriticNorm,
    GeneratorNorm,
    Projection,
    add_spectral_norm,
    check_choice,
    check_cond,
    check_label_route,
    check_norm,
    check_resolution,
    generator_norm,
    layout_of,
    needs_bias,
    norm_2d,
    normalise,
    width_or,
    with_projection,
)
from gan_lightning.networks.resampling import conv_pool, upsample_conv

Pool = Literal["sum", "mean"]


class Plan(NamedTuple):
    """One published pair of networks; maps are multiples of the width."""

    base: int                  # size of G's first maps
    g_maps: tuple[int, ...]    # of the dense layer, then of each block, all of which upsample
    d_maps: tuple[int, ...]    # of each block
    downs: int                 # how many of D's blocks downsample: the first ones
    g_width: int               # the paper's width of G
    d_width: int


PLANS = {
    8: Plan(4, (1, 1), (1, 1), downs=1, g_width=256, d_width=128),
    16: Plan(4, (1, 1, 1), (1, 1, 1), downs=2, g_width=256, d_width=128),
    32: Plan(4, (1, 1, 1, 1), (1, 1, 1, 1), downs=2, g_width=256, d_width=128),
    48: Plan(6, (8, 4, 2, 1), (1, 2, 4, 8, 16), downs=4, g_width=64, d_width=64),
    64: Plan(4, (16, 8, 4, 2, 1), (1, 2, 4, 8, 16), downs=5, g_width=64, d_width=64),
    128: Plan(4, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), downs=5, g_width=64, d_width=64),
}


def _plan(resolution: int) -> Plan:
    check_resolution(resolution, resolution in PLANS, f"resnet makes {', '.join(map(str, PLANS))} px")
    return PLANS[resolution]


class GeneratorBlock(nn.Module):
    """Pre-activation residual block that doubles the size: (N, C, H, W) -> (N, C', 2H, 2W)."""

    def __init__(self, maps: int, out_maps: int, norm: GeneratorNorm, num_classes: int):
        super().__init__()
        # Batch and instance norm cancel any constant in this stream, down to the last layer: a bias would see
        # no gradient but rounding noise, which Adam turns into steps. (Attention would see it: sagan.py has one.)
        bias = needs_bias(norm)
        self.norm1 = generator_norm(norm, maps, num_classes)
        self.conv1 = nn.Conv2d(maps, out_maps, 3, padding=1, bias=bias)
        self.norm2 = generator_norm(norm, out_maps, num_classes)
        self.conv2 = nn.Conv2d(out_maps, out_maps, 3, padding=1, bias=bias)
        self.shortcut = nn.Conv2d(maps, out_maps, 1, bias=bias)

    def forward(self, x: Tensor, cond: Tensor | None) -> Tensor:
        h = F.relu(normalise(self.norm1, x, cond))      # not in place: without a norm this is x itself
        h = upsample_conv(self.conv1, h)
        h = self.conv2(F.relu(normalise(self.norm2, h, cond), inplace=True))
        x = F.interpolate(self.shortcut(x), scale_factor=2)    # 1x1 first: same, at a quarter of the cost
        return h + x


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    Args:
        width: maps at the image end, the others in the paper's proportion; None is the paper's.
        norm: before each activation; by class where there are classes.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 128,
                 width: int | None = None, norm: GeneratorNorm = "batch"):
        super().__init__()
        plan = _plan(resolution)
        check_norm("model.g_norm", norm, GeneratorNorm)
        check_label_route(norm, num_classes, "resnet")
        self.z_dim, self.num_classes = z_dim, num_classes
        maps = [width_or(width, plan.g_width) * multiple for multiple in plan.g_maps]
        self.project = nn.Sequential(
            nn.Linear(z_dim, maps[0] * plan.base**2), nn.Unflatten(1, (maps[0], plan.base, plan.base)),
        )
        self.blocks = nn.ModuleList(GeneratorBlock(a, b, norm, num_classes) for a, b in pairwise(maps))
        self.norm = norm_2d(norm, maps[-1])
        self.last = nn.Conv2d(maps[-1], channels, 3, padding=1)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        check_cond(cond, self.num_classes)
        h = self.project(z).contiguous(memory_format=layout_of(self.last.weight))
        for block in self.blocks:
            h = block(h, cond)
        return self.last(F.relu(self.norm(h))).tanh()


class FirstBlock(nn.Module):
    """D's block on the image: (N, C, H, W) -> (N, C', H/2, W/2), without norm or activation on the input."""

    def __init__(self, channels: int, maps: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, maps, 3, padding=1)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = conv_pool(self.conv2, F.relu(self.conv1(x)))
        return h + self.shortcut(F.avg_pool2d(x, 2))    # pooling commutes with the 1x1 convolution


class DiscriminatorBlock(nn.Module):
    """Pre-activation residual block that halves the size with `down`; as many hidden maps as input maps."""

    def __init__(self, maps: int, out_maps: int, down: bool, norm: CriticNorm):
        super().__init__()
        self.down = down
        self.norm1 = norm_2d(norm, maps)
        self.conv1 = nn.Conv2d(maps, maps, 3, padding=1, bias=needs_bias(norm))
        self.norm2 = norm_2d(norm, maps)
        self.conv2 = nn.Conv2d(maps, out_maps, 3, padding=1)
        self.shortcut = nn.Conv2d(maps, out_maps, 1) if down or maps != out_maps else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x)))
        h = F.relu(self.norm2(h))
        h = conv_pool(self.conv2, h) if self.down else self.conv2(h)
        x = F.avg_pool2d(x, 2) if self.down else x
        return h + (x if self.shortcut is None else self.shortcut(x))


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1); features are the pooled last maps.

    Args:
        width: maps of the first block, the others in the paper's proportion; None is the paper's.
        norm: before each activation of all blocks but the first.
        pool: over positions, after the last ReLU: `sum` (Miyato et al.) or `mean` (Gulrajani et al.).
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, width: int | None = None,
                 norm: CriticNorm = "spectral", pool: Pool = "sum"):
        super().__init__()
        plan = _plan(resolution)
        check_norm("model.d_norm", norm, CriticNorm)
        check_choice("model.pool", pool, ("sum", "mean"))
        self.num_classes, self.pool = num_classes, pool
        maps = [width_or(width, plan.d_width) * multiple for multiple in plan.d_maps]
        self.num_features = maps[-1]
        self.blocks = nn.Sequential(FirstBlock(channels, maps[0]), *(
            DiscriminatorBlock(a, b, position < plan.downs, norm)
            for position, (a, b) in enumerate(pairwise(maps), start=1)
        ))
        self.last = nn.Linear(maps[-1], 1)
        self.projection = Projection(maps[-1], num_classes) if num_classes else None
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        h = F.relu(self.blocks(x))
        features = h.sum((2, 3)) if self.pool == "sum" else h.mean((2, 3))
        return with_projection(self.last(features), features, self.projection, cond, return_features)
