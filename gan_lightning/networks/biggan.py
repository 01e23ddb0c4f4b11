"""BigGAN: Brock et al. 2019, arXiv:1809.11096, appendix B, figure 15; 128 and 256 px are tables 4 and 5.

The paper's table for 64 px does not exist: it is here the one for 128 px without the blocks next to the image.
32 px has four times the width everywhere and D's two halvings, as Miyato et al. 2018 (arXiv:1802.05957, table 4)
have; 8 and 16 px are the same, shorter: ours, for small data and for tests.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.attention import SelfAttention, attention_size
from gan_lightning.networks.layers import (
    Projection,
    add_spectral_norm,
    check_choice,
    check_cond,
    check_resolution,
    layout_of,
    width_or,
    with_projection,
)
from gan_lightning.networks.resampling import conv_pool, upsample_conv

Constraint = Literal["spectral", "none"]

BASE = 4            # size of G's first maps
CHUNK = 20          # entries of z for each block, and for the dense layer
EPSILON = 1e-4      # of batch norm (appendix C)


class Plan(NamedTuple):
    """One pair of networks; maps are multiples of the width."""

    g_maps: tuple[int, ...]    # of the dense layer, then of each block, all of which upsample
    d_maps: tuple[int, ...]    # of each block
    downs: int                 # how many of D's blocks downsample: the first ones
    attention: int             # size of the maps attended over, in both; 0: nowhere
    width: int                 # `ch`


PLANS = {
    8: Plan((4, 4), (4, 4), 1, 0, 64),
    16: Plan((4, 4, 4), (4, 4, 4), 2, 0, 64),
    32: Plan((4, 4, 4, 4), (4, 4, 4, 4), 2, 0, 64),
    64: Plan((16, 16, 8, 4, 2), (2, 4, 8, 16, 16), 4, 32, 96),
    128: Plan((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5, 64, 96),
    256: Plan((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6, 64, 96),
}


def check_constraint(option: str, norm: str) -> None:
    """ConfigError unless `norm` is spectral or none."""
    check_choice(option, norm, ("spectral", "none"))


def plan_for(resolution: int, model: str, plans: dict[int, Plan]) -> Plan:
    """The plan for images of this size, or ConfigError."""
    check_resolution(resolution, resolution in plans, f"{model} makes {', '.join(map(str, plans))} px")
    return plans[resolution]


def attended(asked: int | None, plan: Plan, resolution: int, model: str) -> int:
    """Size of the maps attended over, 0 for none: `asked`, or the plan's."""
    possible = [resolution >> (halvings + 1) for halvings in range(plan.downs)]
    return attention_size(asked, plan.attention, possible, f"{model} at {resolution} px")


class ModulatedNorm(nn.Module):
    """Batch norm whose gains and biases are linear in a vector: (1 + A c) * norm(x) + B c, c (N, code_dim)."""

    def __init__(self, maps: int, code_dim: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(maps, EPSILON, affine=False)
        self.gain = nn.Linear(code_dim, maps, bias=False)
        self.bias = nn.Linear(code_dim, maps, bias=False)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        gain, bias = 1 + self.gain(code)[..., None, None], self.bias(code)[..., None, None]    # (N, C, 1, 1)
        return torch.addcmul(bias, gain, self.norm(x))


class GeneratorBlock(nn.Module):
    """Pre-activation residual block that doubles the size (figure 15b): (N, C, H, W) -> (N, C', 2H, 2W).

    Args:
        seen: whether attention looks at these maps before a norm does.
    """

    def __init__(self, maps: int, out_maps: int, code_dim: int, seen: bool = False):
        super().__init__()
        # Batch norm cancels any constant in this stream: no biases, as in resnet.py. Attention does not, and all
        # constants up to it add up to one: that of the last convolution before it.
        self.norm1 = ModulatedNorm(maps, code_dim)
        self.conv1 = nn.Conv2d(maps, out_maps, 3, padding=1, bias=False)
        self.norm2 = ModulatedNorm(out_maps, code_dim)
        self.conv2 = nn.Conv2d(out_maps, out_maps, 3, padding=1, bias=seen)
        self.shortcut = nn.Conv2d(maps, out_maps, 1, bias=False)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        h = upsample_conv(self.conv1, F.relu(self.norm1(x, code)))
        h = self.conv2(F.relu(self.norm2(h, code)))
        return h + F.interpolate(self.shortcut(x), scale_factor=2)    # 1x1 first: same, at a quarter of the cost


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    z is cut into equal chunks: the first makes the first maps, each of the others, with the class embedding that
    all blocks share, makes the gains and biases of one block ("hierarchical latent space").

    Args:
        z_dim: None is 20 for each chunk, as in the paper: 120 at 128 px.
        width: `ch` of the tables; None is 96, and 64 up to 32 px.
        shared_dim: size of the class embedding.
        attention: size in pixels of the maps that are attended over; None is the tables', 0 none.
        norm: spectral normalisation of all weights, or none.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int | None = None,
                 width: int | None = None, shared_dim: int = 128, attention: int | None = None,
                 norm: Constraint = "spectral"):
        super().__init__()
        plan = plan_for(resolution, "biggan", PLANS)
        check_constraint("model.g_norm", norm)
        size = attended(attention, plan, resolution, "biggan")
        chunks = len(plan.g_maps)
        self.z_dim, self.num_classes = CHUNK * chunks if z_dim is None else z_dim, num_classes
        if self.z_dim % chunks or not self.z_dim:
            raise ConfigError(f"model.z_dim={z_dim}: biggan at {resolution} px cuts z into {chunks} equal chunks; "
                              f"choose a multiple of {chunks}, or null for {CHUNK * chunks}")
        chunk, maps = self.z_dim // chunks, [width_or(width, plan.width) * multiple for multiple in plan.g_maps]
        code_dim = chunk + (shared_dim if num_classes else 0)
        self.project = nn.Sequential(nn.Linear(chunk, maps[0] * BASE**2), nn.Unflatten(1, (maps[0], BASE, BASE)))
        self.attends_at = (size // BASE).bit_length() - 1 if size else -1    # before this block
        self.blocks = nn.ModuleList(GeneratorBlock(a, b, code_dim, seen=position == self.attends_at)
                                    for position, (a, b) in enumerate(pairwise(maps), start=1))
        self.attention = SelfAttention(maps[self.attends_at]) if size else None
        self.norm = nn.BatchNorm2d(maps[-1], EPSILON)
        self.last = nn.Conv2d(maps[-1], channels, 3, padding=1)
        self.embed = shared_embedding(num_classes, shared_dim)
        if norm == "spectral":
            add_spectral_norm(self, (nn.Linear, nn.Conv2d))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        check_cond(cond, self.num_classes)
        first, *chunks = z.chunk(len(self.blocks) + 1, dim=1)
        if self.embed is not None:
            label = self.embed(cond).to(z.dtype)
            chunks = [torch.cat([chunk, label], 1) for chunk in chunks]
        h = self.project(first).contiguous(memory_format=layout_of(self.last.weight))
        for position, (block, code) in enumerate(zip(self.blocks, chunks, strict=True)):
            h = block(self.attention(h) if position == self.attends_at else h, code)
        return self.last(F.relu(self.norm(h))).tanh()


def shared_embedding(num_classes: int, size: int) -> nn.Embedding | None:
    """The class embedding that all of G's blocks share; orthogonal, as all weights of BigGAN begin."""
    if not num_classes:
        return None
    embed = nn.Embedding(num_classes, size)
    nn.init.orthogonal_(embed.weight)
    return embed


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the size with `down` (figure 15c); unlike SNGAN's it has as many hidden maps as
    output maps. The first block has no activation on the image."""

    def __init__(self, maps: int, out_maps: int, down: bool, first: bool):
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = nn.Conv2d(maps, out_maps, 3, padding=1)
        self.conv2 = nn.Conv2d(out_maps, out_maps, 3, padding=1)
        self.shortcut = nn.Conv2d(maps, out_maps, 1) if down or maps != out_maps else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x if self.first else F.relu(x)))
        h = conv_pool(self.conv2, h) if self.down else self.conv2(h)
        x = F.avg_pool2d(x, 2) if self.down else x    # pooling commutes with the 1x1 convolution
        return h + (x if self.shortcut is None else self.shortcut(x))


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1); features are the summed last maps.

    Args: as of Generator.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, width: int | None = None,
                 attention: int | None = None, norm: Constraint = "spectral"):
        super().__init__()
        plan = plan_for(resolution, "biggan", PLANS)
        check_constraint("model.d_norm", norm)
        size = attended(attention, plan, resolution, "biggan")
        maps = [channels, *(width_or(width, plan.width) * multiple for multiple in plan.d_maps)]
        self.num_classes, self.num_features = num_classes, maps[-1]
        self.blocks = nn.Sequential(*_blocks(maps, plan.downs, resolution, size))
        self.last = nn.Linear(maps[-1], 1)
        self.projection = Projection(maps[-1], num_classes) if num_classes else None
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        features = F.relu(self.blocks(x)).sum((2, 3))
        return with_projection(self.last(features), features, self.projection, cond, return_features)


def _blocks(maps: Sequence[int], downs: int, resolution: int, attended_size: int) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for position, (a, b) in enumerate(pairwise(maps)):
        down = position < downs
        blocks.append(DiscriminatorBlock(a, b, down, first=position == 0))
        if down and attended_size == resolution >> (position + 1):
            blocks.append(SelfAttention(b))
    return blocks
