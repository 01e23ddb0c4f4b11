"""R3GAN's residual networks for 8 to 256 px: Huang et al. 2024, arXiv:2501.05441, config E.

G and D mirror each other: a learned 4x4 basis at one end, a 1x1 convolution to or from the image at the other, and
between them stages of residual blocks, one stage for each resolution. No normalisation; a fix-up initialisation (Zhang
et al. 2019, arXiv:1901.09321) starts each block as the identity.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import LabelConcat, check_cond, check_resolution, layout_of
from gan_lightning.networks.upfirdn import Downsample, Upsample

SLOPE = 0.2
GAIN = sqrt(2 / (1 + SLOPE**2))    # keeps the mean square through a leaky ReLU (He et al. 2015, eq. 15)
GROUP = 16                         # maps in a group of the 3x3 convolutions, as in the paper
FULL_WIDTH_UP_TO = 32              # px; from there on each resolution has half the maps of the one before


def _draw(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """Normal weights of standard deviation gain / sqrt(fan-in), and no bias to begin with."""
    nn.init.normal_(layer.weight, 0.0, gain / sqrt(prod(layer.weight.shape[1:])))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _embedding(num_classes: int, size: int, gain: float = 1.0) -> nn.Embedding:
    """Labels (N,) -> (N, size), as drawn for a linear map of one-hot labels, whose fan-in is the number of classes."""
    embedding = nn.Embedding(num_classes, size)
    nn.init.normal_(embedding.weight, 0.0, gain / sqrt(num_classes))
    return embedding


def stage_widths(resolution: int, width: int, widths: Sequence[int] | None) -> list[int]:
    """Maps of each stage, from 4 px up to `resolution`. ConfigError if `widths` does not say one for each."""
    possible = 8 <= resolution <= 256 and resolution & (resolution - 1) == 0
    check_resolution(resolution, possible, "r3gan makes 8, 16, 32, 64, 128, 256 px")
    sizes = [2**power for power in range(2, resolution.bit_length())]
    if min(widths or [width]) < 1:
        raise ConfigError(f"model.width={width}, model.widths={widths}: every width must be at least 1")
    if widths is None:
        return [max(1, width * FULL_WIDTH_UP_TO // max(size, FULL_WIDTH_UP_TO)) for size in sizes]
    if len(widths) != len(sizes):
        raise ConfigError(f"model.widths={list(widths)}: {resolution} px needs {len(sizes)} widths, for "
                          f"{', '.join(map(str, sizes))} px; null takes model.width for all up to 32 px")
    return list(widths)


def _groups(maps: int, cardinality: int | None) -> int:
    if cardinality is None:
        return next(groups for groups in range(max(1, maps // GROUP), 0, -1) if maps % groups == 0)
    if cardinality < 1 or maps % cardinality:
        raise ConfigError(f"model.cardinality={cardinality}: does not divide the {maps} maps of a 3x3 convolution "
                          "(width x expansion); change it or the widths, or choose null")
    return cardinality


class Block(nn.Module):
    """x + conv1x1(act(grouped conv3x3(act(conv1x1(x))))), an inverted bottleneck: (N, C, H, W) -> the same.

    Of m = 3 convolutions the last starts at zero, and the others are scaled by blocks^(-1 / (2m - 2)), which keeps a
    network of `blocks` blocks from exploding (fix-up). Biases stand before activations only.
    """

    def __init__(self, maps: int, expansion: int, cardinality: int | None, blocks: int):
        super().__init__()
        if expansion < 1:
            raise ConfigError(f"model.expansion={expansion}: must be at least 1")
        hidden, gain = maps * expansion, GAIN * blocks**-0.25
        groups = _groups(hidden, cardinality)
        self.conv1 = _draw(nn.Conv2d(maps, hidden, 1), gain)
        self.conv2 = _draw(nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups), gain)
        self.conv3 = _draw(nn.Conv2d(hidden, maps, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv1(x), SLOPE)
        h = F.leaky_relu(self.conv2(h), SLOPE)
        return x + self.conv3(h)


class Resample(nn.Module):
    """Bilinear, twice as large or half as large, with a 1x1 convolution where the number of maps changes.

    The taps are 1, 3, 3, 1 both ways, centred: halving is doubling transposed, and does not alias. As a convolution
    with constant weights it is deterministic on a GPU, which torch's own interpolation is not.
    """

    def __init__(self, maps: int, out_maps: int, up: bool):
        super().__init__()
        self.up = up
        self.conv = _draw(nn.Conv2d(maps, out_maps, 1, bias=False)) if maps != out_maps else nn.Identity()
        self.filter = Upsample() if up else Downsample()

    def forward(self, x: Tensor) -> Tensor:
        # Up, the 1x1 convolution commutes with the rest, and costs least where the image is small.
        return self.filter(self.conv(x)) if self.up else self.conv(self.filter(x))


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution), near [-1, 1]: the paper has no tanh. In eval mode
    they are clamped to it.

    An embedding of the label, as long as z and of variance 1 / num_classes at first, is appended to z.

    Args:
        width: maps of the stages at 4 to 32 px; half as many at 64 px, and so on. The paper's is 768.
        widths: maps of each stage from 4 px up, instead of `width`.
        blocks_per_stage: residual blocks at each resolution.
        cardinality: groups of the 3x3 convolutions; None makes groups of 16 maps, as in the paper,
            or of more where 16 do not fit.
        expansion: width of the 3x3 convolutions, in units of the stage's.
    """

    skip_init = True    # the initialisation is part of the model

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 64, width: int = 768,
                 widths: Sequence[int] | None = None, blocks_per_stage: int = 2, cardinality: int | None = None,
                 expansion: int = 2):
        super().__init__()
        maps = stage_widths(resolution, width, widths)
        self.z_dim, self.num_classes = z_dim, num_classes
        self.label = LabelConcat(z_dim, num_classes, z_dim)
        if num_classes:
            self.label.embed = _embedding(num_classes, z_dim)
        self.modulation = _draw(nn.Linear(self.label.out_features, maps[0], bias=False))
        self.basis = nn.Parameter(torch.randn(1, maps[0], 4, 4))
        blocks = blocks_per_stage * len(maps)
        stages = [_stage(maps[0], blocks_per_stage, expansion, cardinality, blocks)]
        for below, here in pairwise(maps):
            stages += [Resample(below, here, up=True), _stage(here, blocks_per_stage, expansion, cardinality, blocks)]
        self.stages = nn.Sequential(*stages)
        self.last = _draw(nn.Conv2d(maps[-1], channels, 1, bias=False))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        scale = self.modulation(self.label(z, cond))[..., None, None]
        h = (scale * self.basis).contiguous(memory_format=layout_of(self.stages[0][0].conv2.weight))
        images = self.last(self.stages(h))
        return images if self.training else images.clamp(-1, 1)


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1): G in reverse; arguments as there.

    A 4x4 depthwise convolution weighs the last maps' positions where G multiplies its basis; its values are the
    features f. Without labels the logit is w.f + b. With them it is <embed(label), W f> alone, a projection (Miyato &
    Koyama 2018, eq. 3) without the summand that all classes share.
    """

    skip_init = True

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, width: int = 768,
                 widths: Sequence[int] | None = None, blocks_per_stage: int = 2, cardinality: int | None = None,
                 expansion: int = 2):
        super().__init__()
        maps = stage_widths(resolution, width, widths)[::-1]
        self.num_classes, self.num_features = num_classes, maps[-1]
        self.first = _draw(nn.Conv2d(channels, maps[0], 1, bias=False))
        blocks = blocks_per_stage * len(maps)
        stages = [_stage(maps[0], blocks_per_stage, expansion, cardinality, blocks)]
        for above, here in pairwise(maps):
            stages += [Resample(above, here, up=False), _stage(here, blocks_per_stage, expansion, cardinality, blocks)]
        self.stages = nn.Sequential(*stages)
        self.basis = _draw(nn.Conv2d(maps[-1], maps[-1], 4, groups=maps[-1], bias=False))
        self.last = _draw(nn.Linear(maps[-1], maps[-1], bias=False) if num_classes else nn.Linear(maps[-1], 1))
        # The product with W f is a sum over maps[-1] terms: divided by its root, logits have the scale of one of them.
        self.embed = _embedding(num_classes, maps[-1], 1 / sqrt(maps[-1])) if num_classes else None

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        features = self.basis(self.stages(self.first(x))).flatten(1)
        logits = self.last(features)
        if self.embed is not None:
            logits = (self.embed(cond) * logits).sum(1, keepdim=True)
        return (logits, features) if return_features else logits


def _stage(maps: int, depth: int, expansion: int, cardinality: int | None, blocks: int) -> nn.Sequential:
    if depth < 1:
        raise ConfigError(f"model.blocks_per_stage={depth}: must be at least 1")
    return nn.Sequential(*(Block(maps, expansion, cardinality, blocks) for _ in range(depth)))
