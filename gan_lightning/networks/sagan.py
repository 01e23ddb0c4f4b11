"""SAGAN: Zhang et al. 2019, arXiv:1805.08318: SNGAN's residual networks (resnet.py) with self-attention in both,
and spectral normalisation of G's weights too (section 4.1).

The paper has 128 px images and finds attention over maps of 32 px best (table 1). Smaller images have it over maps
of half their size, and at most 32 px: ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks import resnet
from gan_lightning.networks.attention import SelfAttention, attention_size
from gan_lightning.networks.layers import (
    CriticNorm,
    GeneratorNorm,
    add_spectral_norm,
    check_cond,
    check_resolution,
    layout_of,
)

BEST = 32


class Generator(resnet.Generator):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    Args:
        width, norm: as of resnet.Generator.
        attention: size in pixels of the maps that are attended over, None is the paper's; 0 none.
        spectral: spectral normalisation of all dense and convolution weights.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 128,
                 width: int | None = None, norm: GeneratorNorm = "batch", attention: int | None = None,
                 spectral: bool = True):
        size = _attended(attention, resolution)
        super().__init__(resolution, channels, num_classes, z_dim, width, norm)
        before = (size // resnet.PLANS[resolution].base).bit_length() - 1 if size else -1
        self.attends_at = before    # before this block
        self.attention = SelfAttention(self.blocks[before].conv1.in_channels) if size else None
        if before > 0 and (seen := self.blocks[before - 1].conv2).bias is None:
            # Attention sees the constants that norms would cancel; all of them up to here add up to this one.
            seen.bias = nn.Parameter(torch.zeros(seen.out_channels))
        if spectral:
            add_spectral_norm(self, (nn.Linear, nn.Conv2d))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        check_cond(cond, self.num_classes)
        h = self.project(z).contiguous(memory_format=layout_of(self.last.weight))
        for position, block in enumerate(self.blocks):
            h = block(self.attention(h) if position == self.attends_at else h, cond)
        return self.last(F.relu(self.norm(h))).tanh()


class Discriminator(resnet.Discriminator):
    """Images (N, channels, resolution, resolution) -> logits (N, 1).

    Args:
        width, norm, pool: as of resnet.Discriminator.
        attention: as of Generator.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, width: int | None = None,
                 norm: CriticNorm = "spectral", pool: resnet.Pool = "sum", attention: int | None = None):
        size = _attended(attention, resolution)
        super().__init__(resolution, channels, num_classes, width, norm, pool)
        if not size:
            return
        after = (resolution // size).bit_length() - 1    # as many blocks have halved the image
        attention_over = SelfAttention(self.blocks[after - 1].conv2.out_channels)
        if norm == "spectral":
            add_spectral_norm(attention_over)
        self.blocks.insert(after, attention_over)


def _attended(asked: int | None, resolution: int) -> int:
    """Size of the maps attended over, which both networks have between their blocks; 0 for none."""
    plans = resnet.PLANS
    check_resolution(resolution, resolution in plans, f"sagan makes {', '.join(map(str, plans))} px")
    plan = plans[resolution]
    sizes = [resolution >> halvings for halvings in range(1, plan.downs + 1)]
    possible = [size for size in sizes if size >= plan.base and size % 2 == 0]
    return attention_size(asked, min(BEST, resolution // 2), possible, f"sagan at {resolution} px")
