"""Progressive growing: Karras et al. 2018, arXiv:1710.10196, sec. 2 to 4, tables 2 and 3.

Both networks start at 4 px. Each further stage doubles the size: its block is faded in beside the old way to and from
images, then trained on. With classes: an embedding beside z, and a projection in D (Miyato & Koyama 2018,
arXiv:1802.05637); the paper's own D had an auxiliary classifier.
"""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.equalised import EqualConv2d, EqualLinear, pixel_norm
from gan_lightning.networks.layers import (
    LabelConcat,
    Projection,
    check_cond,
    check_resolution,
    flatten,
    layout_of,
    with_projection,
)
from gan_lightning.networks.minibatch_stddev import MinibatchStddev
from gan_lightning.precision import at_least_float32

RESOLUTIONS = tuple(2**k for k in range(3, 11))
HE = math.sqrt(2)    # gain of weights before a leaky ReLU


def stage_at(nimg: int, last: int, kimg_per_stage: float, kimg_fade: float) -> tuple[int, float]:
    """Where training is after `nimg` reals: the stage, from 0 (4 px) to `last`, and alpha, the share of its new block.

    Stage 0 lasts kimg_per_stage; each other one begins by kimg_fade, in which alpha goes from 0 to 1; the last stays.
    """
    into = nimg / 1000 - kimg_per_stage    # time since the first growth began
    if into < 0:
        return 0, 1.0
    period = kimg_fade + kimg_per_stage
    stage = 1 + int(into // period) if period else last + 1
    if stage > last:
        return last, 1.0
    into -= (stage - 1) * period
    return stage, min(into / kimg_fade, 1.0) if kimg_fade else 1.0


def _faded(old: Tensor, new: Tensor, alpha: Tensor | float) -> Tensor:
    return torch.lerp(old, new, alpha.to(new.dtype) if isinstance(alpha, Tensor) else alpha)


class Growing(nn.Module):
    """A network that grows with the clock. `nimg` and `alpha` are buffers: averages of G and checkpoints have them, and
    show images as they are at that stage. Weights of stages to come have no gradients."""

    def __init__(self, resolution: int, kimg_per_stage: float, kimg_fade: float):
        super().__init__()
        check_resolution(resolution, resolution in RESOLUTIONS, f"progan makes {', '.join(map(str, RESOLUTIONS))} px")
        if kimg_per_stage < 0 or kimg_fade < 0:
            raise ConfigError(f"model.kimg_per_stage={kimg_per_stage}, model.kimg_fade={kimg_fade}: must be at least "
                              "0; with both 0 the networks are whole from the start")
        self.sizes = [2**k for k in range(2, resolution.bit_length())]
        self.kimg_per_stage, self.kimg_fade = kimg_per_stage, kimg_fade
        self.register_buffer("nimg", torch.zeros((), dtype=torch.int64))
        self.register_buffer("alpha", torch.ones(()))
        self.set_nimg(0)
        self.register_load_state_dict_post_hook(_follow_loaded)

    def set_nimg(self, nimg: int) -> None:
        self.stage, alpha = self._stage_at(nimg)
        self.fading = alpha < 1
        self.nimg.fill_(nimg)
        self.alpha.fill_(alpha)

    def now(self) -> tuple[int, Tensor | float | None]:
        """The stage, and alpha while it is fading in."""
        if self.training:    # no waiting for a GPU; a clone, since the next step may come before this one's backward
            return self.stage, self.alpha.clone() if self.fading else None
        stage, alpha = self._stage_at(int(self.nimg))    # an average is told by its buffers alone
        return stage, alpha if alpha < 1 else None

    def _stage_at(self, nimg: int) -> tuple[int, float]:
        return stage_at(nimg, len(self.sizes) - 1, self.kimg_per_stage, self.kimg_fade)

    def _maps(self, channel_base: int, channel_max: int, width: float) -> list[int]:
        if channel_base < 1 or channel_max < 1 or width <= 0:
            raise ConfigError(f"model.channel_base={channel_base}, model.channel_max={channel_max}, "
                              f"model.width={width}: all must be above 0")
        return [max(1, round(width * min(channel_base / size, channel_max))) for size in self.sizes]


def _follow_loaded(network: Growing, incompatible: Any) -> None:
    network.set_nimg(int(network.nimg))


def _activation(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class GeneratorBlock(nn.Module):
    """Upsampling, then twice convolution, leaky ReLU and pixel norm: (N, I, H, W) -> (N, O, 2H, 2W)."""

    def __init__(self, maps: int, out_maps: int):
        super().__init__()
        self.conv1 = EqualConv2d(maps, out_maps, 3, gain=HE)
        self.conv2 = EqualConv2d(out_maps, out_maps, 3, gain=HE)

    def forward(self, x: Tensor) -> Tensor:
        h = pixel_norm(_activation(self.conv1.upsampled(x)))
        return pixel_norm(_activation(self.conv2(h)))


class Generator(Growing):
    """z (N, z_dim) -> images, about in [-1, 1]: of the current size in training mode; in eval mode of the full one, by
    nearest neighbours, and clamped.

    Args:
        label_dim: size of the label's embedding.
        channel_base, channel_max: min(channel_base / size, channel_max) maps at each size.
        width: multiplies the numbers of maps.
        kimg_per_stage: thousand reals of each stage, after its fade-in.
        kimg_fade: thousand reals of each fade-in.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 512, label_dim: int = 64,
                 channel_base: int = 16384, channel_max: int = 512, width: float = 1.0,
                 kimg_per_stage: float = 800.0, kimg_fade: float = 800.0):
        super().__init__(resolution, kimg_per_stage, kimg_fade)
        maps = self._maps(channel_base, channel_max, width)
        self.z_dim, self.num_classes = z_dim, num_classes
        self.label = LabelConcat(z_dim, num_classes, label_dim)
        self.project = nn.Sequential(EqualLinear(self.label.out_features, maps[0] * 4**2, gain=HE),
                                     nn.Unflatten(1, (maps[0], 4, 4)))
        self.conv = EqualConv2d(maps[0], maps[0], 3, gain=HE)
        self.blocks = nn.ModuleList(GeneratorBlock(a, b) for a, b in pairwise(maps))
        self.to_image = nn.ModuleList(EqualConv2d(count, channels, 1) for count in maps)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        check_cond(cond, self.num_classes)
        stage, alpha = self.now()
        h = self.project(self.label(pixel_norm(z), cond)).contiguous(memory_format=layout_of(self.conv.weight))
        before = h = pixel_norm(_activation(self.conv(pixel_norm(_activation(h)))))
        for block in self.blocks[:stage]:
            before, h = h, block(h)
        images = at_least_float32(self.to_image[stage](h))
        if alpha is not None:
            old = at_least_float32(self.to_image[stage - 1](before))
            images = _faded(F.interpolate(old, scale_factor=2), images, alpha)
        if self.training:
            return images
        return F.interpolate(images, size=self.sizes[-1]).clamp(-1, 1)


class DiscriminatorBlock(nn.Module):
    """Twice convolution and leaky ReLU, then means of 2 x 2: (N, I, H, W) -> (N, O, H/2, W/2)."""

    def __init__(self, maps: int, out_maps: int):
        super().__init__()
        self.conv1 = EqualConv2d(maps, maps, 3, gain=HE)
        self.conv2 = EqualConv2d(maps, out_maps, 3, gain=HE)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(_activation(self.conv2(_activation(self.conv1(x)))), 2)


class Discriminator(Growing):
    """Images (N, channels, size, size) -> logits (N, 1); larger images are averaged down to the current size.

    Features are the last dense layer's activations.

    Args:
        channel_base, channel_max, width, kimg_per_stage, kimg_fade: as in G.
        group_size: of the minibatch standard deviation.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, channel_base: int = 16384,
                 channel_max: int = 512, width: float = 1.0, kimg_per_stage: float = 800.0, kimg_fade: float = 800.0,
                 group_size: int = 4):
        super().__init__(resolution, kimg_per_stage, kimg_fade)
        if group_size < 1:
            raise ConfigError(f"model.group_size={group_size}: must be at least 1")
        maps = self._maps(channel_base, channel_max, width)
        self.num_classes, self.num_features = num_classes, maps[0]
        self.from_image = nn.ModuleList(EqualConv2d(channels, count, 1, gain=HE) for count in maps)
        self.blocks = nn.ModuleList(DiscriminatorBlock(b, a) for a, b in pairwise(maps))    # the first ends at 4 px
        self.stddev = MinibatchStddev(group_size)
        self.conv = EqualConv2d(maps[0] + 1, maps[0], 3, gain=HE)
        self.dense = EqualLinear(maps[0] * 4**2, maps[0], gain=HE)
        self.last = EqualLinear(maps[0], 1)
        self.projection = Projection(maps[0], num_classes) if num_classes else None

    def prepare_real(self, real: Tensor) -> Tensor:
        """Reals of the full size -> of the current one; while it fades in, as blurred as G's images are then."""
        stage, alpha = self.now()
        real = self._shrunk(real, stage)
        if alpha is None:
            return real
        return _faded(F.interpolate(F.avg_pool2d(real, 2), scale_factor=2), real, alpha)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        stage, alpha = self.now()
        h = self._maps_at_4(self._shrunk(x, stage), stage, alpha)
        h = _activation(self.conv(self.stddev(h)))
        features = _activation(self.dense(flatten(h)))
        return with_projection(self.last(features), features, self.projection, cond, return_features)

    def _maps_at_4(self, x: Tensor, stage: int, alpha: Tensor | float | None) -> Tensor:
        h = _activation(self.from_image[stage](x))
        for index in reversed(range(stage)):
            h = self.blocks[index](h)
            if index == stage - 1 and alpha is not None:
                old = _activation(self.from_image[index](F.avg_pool2d(x, 2)))
                h = _faded(old, h, alpha)
        return h

    def _shrunk(self, x: Tensor, stage: int) -> Tensor:
        size = self.sizes[stage]
        if x.shape[-1] not in self.sizes[stage:]:
            raise ValueError(f"this stage judges images of {size} px, or larger ones up to {self.sizes[-1]} px, got "
                             f"{tuple(x.shape)}")
        return x if x.shape[-1] == size else F.avg_pool2d(x, x.shape[-1] // size)
