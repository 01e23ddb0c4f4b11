"""BigGAN-deep: Brock et al. 2019, arXiv:1809.11096, appendix B, figure 16; 128 and 256 px are tables 7 and 8.

Two bottleneck blocks per size, and shortcuts without weights. All of z, with the class embedding, goes to every
block. 8 to 64 px are not in the paper: they have the maps, and D the halvings, of biggan.py's plans, two at 32 px.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.attention import SelfAttention
from gan_lightning.networks.biggan import (
    BASE,
    EPSILON,
    Constraint,
    ModulatedNorm,
    Plan,
    attended,
    check_constraint,
    plan_for,
    shared_embedding,
)
from gan_lightning.networks.layers import (
    Projection,
    add_spectral_norm,
    check_cond,
    layout_of,
    width_or,
    with_projection,
)
from gan_lightning.networks.resampling import upsample_conv

RATIO = 4    # of a bottleneck: a block's wider end to its 3x3 convolutions


def _plan(g_maps: tuple[int, ...], attention: int, width: int, downs: int | None = None) -> Plan:
    # D mirrors G: two blocks for each pair of neighbours, of which the first halves, or in G the second doubles.
    return Plan(g_maps, g_maps[::-1], len(g_maps) - 1 if downs is None else downs, attention, width)


PLANS = {
    8: _plan((4, 4), 0, 64),
    16: _plan((4, 4, 4), 0, 64),
    32: _plan((4, 4, 4, 4), 0, 64, downs=2),
    64: _plan((16, 16, 8, 4, 2), 32, 128),
    128: _plan((16, 16, 8, 4, 2, 1), 64, 128),
    256: _plan((16, 16, 8, 8, 4, 2, 1), 64, 128),
}


class GeneratorBlock(nn.Module):
    """Bottleneck (figure 16b): (N, C, H, W) -> (N, C', H, W), or (N, C', 2H, 2W) with `up`; C' <= C.

    The shortcut keeps the first C' maps and drops the others.

    Args:
        seen: whether attention looks at these maps before a norm does; then they have a bias, as in biggan.py.
    """

    def __init__(self, maps: int, out_maps: int, up: bool, code_dim: int, seen: bool = False):
        super().__init__()
        self.up, self.out_maps, inner = up, out_maps, max(maps // RATIO, 1)
        self.norm1 = ModulatedNorm(maps, code_dim)
        self.conv1 = nn.Conv2d(maps, inner, 1, bias=False)
        self.norm2 = ModulatedNorm(inner, code_dim)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.norm3 = ModulatedNorm(inner, code_dim)
        self.conv3 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.norm4 = ModulatedNorm(inner, code_dim)
        self.conv4 = nn.Conv2d(inner, out_maps, 1, bias=seen)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x, code)))
        h = F.relu(self.norm2(h, code))
        h = upsample_conv(self.conv2, h) if self.up else self.conv2(h)
        h = self.conv3(F.relu(self.norm3(h, code)))
        h = self.conv4(F.relu(self.norm4(h, code)))
        x = x[:, :self.out_maps]
        return h + (F.interpolate(x, scale_factor=2) if self.up else x)


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    Args:
        width: `ch` of the tables; None is 128, and 64 up to 32 px.
        shared_dim: size of the class embedding.
        attention: size in pixels of the maps that are attended over; None is the tables', 0 none.
        norm: spectral normalisation of all weights, or none.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 128,
                 width: int | None = None, shared_dim: int = 128, attention: int | None = None,
                 norm: Constraint = "spectral"):
        super().__init__()
        plan = plan_for(resolution, "biggan_deep", PLANS)
        check_constraint("model.g_norm", norm)
        size = attended(attention, plan, resolution, "biggan_deep")
        self.z_dim, self.num_classes = z_dim, num_classes
        code_dim = z_dim + (shared_dim if num_classes else 0)
        maps = [width_or(width, plan.width) * multiple for multiple in plan.g_maps]
        self.project = nn.Sequential(nn.Linear(code_dim, maps[0] * BASE**2), nn.Unflatten(1, (maps[0], BASE, BASE)))
        stage = (size // BASE).bit_length() - 1 if size else -1
        self.attends_at = 2 * stage    # before this block
        self.blocks = nn.ModuleList(block for position, (a, b) in enumerate(pairwise(maps), start=1) for block in (
            GeneratorBlock(a, a, False, code_dim), GeneratorBlock(a, b, True, code_dim, seen=position == stage)))
        self.attention = SelfAttention(maps[stage]) if size else None
        self.norm = nn.BatchNorm2d(maps[-1], EPSILON)
        self.last = nn.Conv2d(maps[-1], channels, 3, padding=1)
        self.embed = shared_embedding(num_classes, shared_dim)
        if norm == "spectral":
            add_spectral_norm(self, (nn.Linear, nn.Conv2d))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        check_cond(cond, self.num_classes)
        code = z if self.embed is None else torch.cat([z, self.embed(cond).to(z.dtype)], 1)
        h = self.project(code).contiguous(memory_format=layout_of(self.last.weight))
        for position, block in enumerate(self.blocks):
            h = block(self.attention(h) if position == self.attends_at else h, code)
        return self.last(F.relu(self.norm(h))).tanh()


class DiscriminatorBlock(nn.Module):
    """Bottleneck (figure 16c): (N, C, H, W) -> (N, C', H, W), or (N, C', H/2, W/2) with `down`; C' >= C.

    The shortcut keeps all maps and appends C' - C of a 1x1 convolution.
    """

    def __init__(self, maps: int, out_maps: int, down: bool):
        super().__init__()
        self.down, inner = down, max(out_maps // RATIO, 1)    # the mirror of G's
        self.conv1 = nn.Conv2d(maps, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv3 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv4 = nn.Conv2d(inner, out_maps, 1)
        self.shortcut = nn.Conv2d(maps, out_maps - maps, 1) if out_maps > maps else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(F.relu(x)))
        h = F.relu(self.conv3(F.relu(self.conv2(h))))
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return self.conv4(h) + (x if self.shortcut is None else torch.cat([x, self.shortcut(x)], 1))


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1); features are the summed last maps.

    Args: as of Generator.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, width: int | None = None,
                 attention: int | None = None, norm: Constraint = "spectral"):
        super().__init__()
        plan = plan_for(resolution, "biggan_deep", PLANS)
        check_constraint("model.d_norm", norm)
        size = attended(attention, plan, resolution, "biggan_deep")
        maps = [width_or(width, plan.width) * multiple for multiple in plan.d_maps]
        self.num_classes, self.num_features = num_classes, maps[-1]
        blocks: list[nn.Module] = []
        for stage, (a, b) in enumerate(pairwise(maps), start=1):
            down = stage <= plan.downs
            blocks += [DiscriminatorBlock(a, b, down), DiscriminatorBlock(b, b, False)]
            if down and size == resolution >> stage:
                blocks.append(SelfAttention(b))
        self.first = nn.Conv2d(channels, maps[0], 3, padding=1)
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(maps[-1], 1)
        self.projection = Projection(maps[-1], num_classes) if num_classes else None
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        features = F.relu(self.blocks(self.first(x))).sum((2, 3))
        return with_projection(self.last(features), features, self.projection, cond, return_features)
