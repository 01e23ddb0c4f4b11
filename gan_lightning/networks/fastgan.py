"""FastGAN's networks for 32 to 1024 px: Liu et al. 2021, arXiv:2101.04775, figures 3 and 4.

G's large maps are weighted by what its small maps hold (skip-layer excitation); D is an encoder as well, whose maps
small decoders turn into the image again (`gan_lightning.terms.reconstruction`). The paper has no classes: the embedding
of a label appended to z and the projection in D (Miyato & Koyama 2018, arXiv:1802.05637) are ours, as is all below
256 px, the smallest images of the paper. What its authors' runs have beyond its figures is left out: a second input of
D, the image at 128 px, and excitations in D.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import (
    CriticNorm,
    LabelConcat,
    Projection,
    add_spectral_norm,
    check_cond,
    check_norm,
    check_resolution,
    layout_of,
    needs_bias,
    norm_2d,
    with_projection,
)
from gan_lightning.networks.noise import Noise

SLOPE = 0.1             # of leaky ReLUs: the paper's
RESIDUAL_FROM = 256     # px: from there down D is residual
DECODED = 128           # px: the largest image that a decoder makes
G_MAPS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 1 / 2, 512: 1 / 4, 1024: 1 / 8}    # in units of the width
D_MAPS = {size: 64 / size for size in G_MAPS if size >= 8}
LAST_MAPS = 16          # of D, in units of the width


def _maps(size: int, width: float, multiples: dict[int, float]) -> int:
    return max(2, int(width * multiples[size]))


def _check_size(resolution: int, width: int) -> None:
    sizes = [size for size in G_MAPS if size >= 32]
    check_resolution(resolution, resolution in sizes, f"fastgan makes {', '.join(map(str, sizes))} px")
    if width < 1:
        raise ConfigError(f"model.width={width}: must be at least 1")


def excitations(resolution: int) -> dict[int, int]:
    """Large size -> the small one that weighs it: 16 times smaller, so 4 -> 64, 8 -> 128, 16 -> 256, 32 -> 512.
    At 32 px, where there is no such pair, ours: 4 -> 32."""
    pairs = {small * 16: small for small in (4, 8, 16, 32) if small * 16 <= resolution}
    return pairs or {resolution: 4}


class GLU(nn.Module):
    """Half of the maps, each times the logistic function of one of the other half (Dauphin et al. 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, 1)
        return value * gate.sigmoid()


class Excitation(nn.Module):
    """F(small) * large with F: mean to 4x4, conv 4x4, leaky ReLU, conv 1x1, sigmoid: one weight per map (eq. 1; the
    authors' runs have Swish for the paper's leaky ReLU). Without biases."""

    def __init__(self, small: int, large: int):
        super().__init__()
        self.squeeze = nn.Conv2d(small, large, 4, bias=False)
        self.excite = nn.Conv2d(large, large, 1, bias=False)

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        pooled = F.avg_pool2d(small, small.shape[-1] // 4)
        return self.excite(F.leaky_relu(self.squeeze(pooled), SLOPE)).sigmoid() * large


class UpBlock(nn.Module):
    """Doubles the size: nearest, conv, batch norm, GLU; with `noisy` a second convolution, and noise after both."""

    def __init__(self, maps: int, out_maps: int, size: int, noisy: bool):
        super().__init__()
        layers = [nn.Upsample(scale_factor=2)]
        for fan_in in (maps, out_maps) if noisy else (maps,):
            layers.append(nn.Conv2d(fan_in, 2 * out_maps, 3, padding=1, bias=False))
            layers += [Noise(size)] if noisy else []
            layers += [nn.BatchNorm2d(2 * out_maps), GLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    Args:
        width: maps at 128 px; 16 times as many at 4 px.
        spectral: spectral normalisation of all weights but embeddings, besides batch normalisation, as in the authors'
            runs.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 256, width: int = 64,
                 spectral: bool = False):
        super().__init__()
        _check_size(resolution, width)
        self.z_dim, self.num_classes = z_dim, num_classes
        self.label = LabelConcat(z_dim, num_classes, z_dim)
        maps = {size: _maps(size, width, G_MAPS) for size in G_MAPS if size <= resolution}
        # A transposed 4x4 convolution of a single position is a dense layer.
        self.project = nn.Sequential(
            nn.Linear(self.label.out_features, 2 * maps[4] * 16, bias=False), nn.Unflatten(1, (2 * maps[4], 4, 4)),
            nn.BatchNorm2d(2 * maps[4]), GLU(),
        )
        # Noise in every second block, from the first on.
        self.blocks = nn.ModuleDict({
            str(size): UpBlock(maps[size // 2], maps[size], size, noisy=size.bit_length() % 2 == 0)
            for size in maps if size > 4
        })
        self.pairs = excitations(resolution)
        self.excitations = nn.ModuleDict({
            str(large): Excitation(maps[small], maps[large]) for large, small in self.pairs.items()
        })
        self.last = nn.Conv2d(maps[resolution], channels, 3, padding=1)
        if spectral:
            add_spectral_norm(self, (nn.Linear, nn.Conv2d))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.project(self.label(z, cond)).contiguous(memory_format=layout_of(self.last.weight))
        kept = {4: h}
        for name, block in self.blocks.items():
            h, size = block(h), int(name)
            if size in self.pairs:
                h = self.excitations[name](kept[self.pairs[size]], h)
            if size in self.pairs.values():
                kept[size] = h
        return self.last(h).tanh()


class DownBlock(nn.Module):
    """The mean of two ways to half the size: conv 4x4 of stride 2 then conv 3x3, and mean pooling then conv 1x1."""

    def __init__(self, maps: int, out_maps: int, norm: CriticNorm):
        super().__init__()
        self.main = nn.Sequential(*_conv(maps, out_maps, 4, norm, stride=2), *_conv(out_maps, out_maps, 3, norm))
        self.direct = nn.Sequential(nn.AvgPool2d(2), *_conv(maps, out_maps, 1, norm))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.direct(x)) / 2


class Decoder(nn.Module):
    """Maps (N, C, 8, 8) -> an image (N, channels, size, size) in [-1, 1]; four doublings to 128 px in the paper. Half
    as wide as G."""

    def __init__(self, maps: int, channels: int, size: int, width: int, norm: CriticNorm):
        super().__init__()
        blocks, here = [], 8
        while here < size:
            here *= 2
            out_maps = _maps(here, width / 2, G_MAPS)
            blocks += [nn.Upsample(scale_factor=2),
                       nn.Conv2d(maps, 2 * out_maps, 3, padding=1, bias=needs_bias(norm)),
                       norm_2d(norm, 2 * out_maps), GLU()]
            maps = out_maps
        self.blocks = nn.Sequential(*blocks)
        self.draw = nn.Conv2d(maps, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.draw(self.blocks(maps)).tanh()


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1), or (N, 25). Features are the last maps' means.

    Args:
        width: maps at 64 px; half as many at 128 px, 8 times as many at 8 px, and then twice those.
        norm: after each convolution but the first; of the decoders too.
        decoders: whether there are any. Only the term `reconstruction` trains them.
        patch_logits: one logit for each of 5 x 5 places, as in the paper, whose loss is the mean over places; else the
            mean logit.
        spectral: spectral normalisation of all weights besides `norm`, as in the authors' runs.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, width: int = 64,
                 norm: CriticNorm = "batch", decoders: bool = True, patch_logits: bool = True,
                 spectral: bool = False):
        super().__init__()
        _check_size(resolution, width)
        check_norm("model.d_norm", norm, CriticNorm)
        self.num_classes, self.patch_logits = num_classes, patch_logits
        maps = {size: _maps(size, width, D_MAPS) for size in D_MAPS}
        self.first = _first(resolution, channels, maps, norm)
        sizes = [size for size in sorted(maps, reverse=True) if 16 <= size <= min(resolution, RESIDUAL_FROM)]
        self.to_16 = nn.Sequential(*(DownBlock(maps[a], maps[b], norm) for a, b in pairwise(sizes)))
        self.to_8 = DownBlock(maps[16], maps[8], norm)
        self.num_features = LAST_MAPS * width
        self.mix = nn.Sequential(*_conv(maps[8], self.num_features, 1, norm))
        self.last = nn.Conv2d(self.num_features, 1, 4)
        self.projection = Projection(self.num_features, num_classes) if num_classes else None
        self.decoders = None
        if decoders:
            self.decoders = nn.ModuleDict({
                "whole": Decoder(maps[8], channels, min(resolution, DECODED), width, norm),
                "part": Decoder(maps[16], channels, min(resolution // 2, DECODED), width, norm),
            })
        if spectral or norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        h = self.mix(self.to_8(self.to_16(self.first(x))))
        features = h.mean((2, 3))
        # The mean of a convolution at 5x5 places is the convolution of the means over 5x5: one place in place of 25.
        logits = self.last(h if self.patch_logits else F.avg_pool2d(h, 5, stride=1)).flatten(1)
        return with_projection(logits, features, self.projection, cond, return_features)

    def reconstruct(self, x: Tensor, part: int) -> list[tuple[Tensor, Tensor]]:
        """(decoded, target) of the whole image, from the maps of 8 px, and of its quarter `part` (0 to 3, row by row),
        from that quarter of the maps of 16 px. Both at most 128 px: targets are means over squares of pixels."""
        if self.decoders is None:
            raise ConfigError("model.decoders=false: this discriminator reconstructs nothing")
        maps_16 = self.to_16(self.first(x))
        maps_8 = self.to_8(maps_16)
        whole, quarter = self.decoders["whole"](maps_8), self.decoders["part"](_quarter(maps_16, part))
        return [(whole, _shrunk(x, whole)), (quarter, _shrunk(_quarter(x, part), quarter))]


def _conv(maps: int, out_maps: int, kernel: int, norm: CriticNorm, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(maps, out_maps, kernel, stride, padding=(kernel - 1) // 2, bias=needs_bias(norm))
    return [conv, norm_2d(norm, out_maps), nn.LeakyReLU(SLOPE)]


def _first(resolution: int, channels: int, maps: dict[int, int], norm: CriticNorm) -> nn.Sequential:
    """A convolution of the image; above 256 px strided ones down to there, where residual blocks would cost most."""
    size, layers = resolution, []
    while size > RESIDUAL_FROM:
        size, here = size // 2, maps[size] if layers else channels
        layers += _conv(here, maps[size], 4, norm if layers else "none", stride=2)
    return nn.Sequential(*(layers or _conv(channels, maps[resolution], 3, "none")))


def _quarter(x: Tensor, part: int) -> Tensor:
    half, (row, column) = x.shape[-1] // 2, divmod(part, 2)
    return x[..., row * half:(row + 1) * half, column * half:(column + 1) * half]


def _shrunk(x: Tensor, like: Tensor) -> Tensor:
    factor = x.shape[-1] // like.shape[-1]
    return F.avg_pool2d(x, factor) if factor > 1 else x
