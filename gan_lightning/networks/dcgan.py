"""DCGAN: Radford et al. 2016, arXiv:1511.06434, from 8 to 128 px.

With classes: conditional batch normalisation in G and a projection in D (Miyato & Koyama 2018,
arXiv:1802.05637). Kernels are 4x4, as in the authors' later Torch code, where the paper's figure has 5x5:
a multiple of the stride overlaps evenly.
"""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gan_lightning.networks.layers import (
    CriticNorm,
    Projection,
    add_spectral_norm,
    check_cond,
    check_label_route,
    check_norm,
    check_resolution,
    flatten,
    generator_norm,
    is_normalised,
    layout_of,
    leaky_relu,
    needs_bias,
    norm_2d,
    normalise,
    with_projection,
)
from gan_lightning.networks.minibatch import Minibatch, minibatch_layer
from gan_lightning.networks.virtual_batch_norm import ReferenceBatch, virtual_norm

GeneratorNorm = Literal["batch", "none", "instance", "layer", "virtual"]


def _halve(resolution: int) -> tuple[int, int]:
    """(smallest size, stages): halved to at most 7 px, and twice at least where the resolution allows."""
    base, stages = resolution, 0
    while base % 2 == 0 and (base > 7 or stages < 2):
        base, stages = base // 2, stages + 1
    return base, stages


def _possible(resolution: int) -> bool:
    return 8 <= resolution <= 128 and _halve(resolution)[0] <= 7


POSSIBLE = [resolution for resolution in range(8, 129) if _possible(resolution)]


def _plan(resolution: int, width: int) -> tuple[int, list[int]]:
    """(smallest size, maps per stage from the image end on: doubling, up to eight times `width`)."""
    makes = f"dcgan makes 8 to 128 px that halve evenly down to at most 7 ({', '.join(map(str, POSSIBLE))})"
    check_resolution(resolution, _possible(resolution), makes)
    base, stages = _halve(resolution)
    return base, [width * min(2**stage, 8) for stage in range(stages)]


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    Args:
        width: maps at the image end; twice as many at each halving, up to eight times.
        norm: after each layer but the last; by class where there are classes.
        references: size of the batch that `virtual` normalisation takes its statistics from, made with each batch.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 100,
                 width: int = 64, norm: GeneratorNorm = "batch", references: int = 64):
        super().__init__()
        base, widths = _plan(resolution, width)
        check_norm("model.g_norm", norm, GeneratorNorm)
        check_label_route(norm, num_classes, "dcgan")
        self.z_dim, self.num_classes = z_dim, num_classes
        widths.reverse()
        bias = needs_bias(norm)
        self.project = nn.Sequential(
            nn.Linear(z_dim, widths[0] * base**2, bias=bias), nn.Unflatten(1, (widths[0], base, base)),
        )
        virtual = norm == "virtual"
        self.references = ReferenceBatch(references, z_dim, num_classes) if virtual else None
        self.norms = nn.ModuleList(virtual_norm(maps, references, num_classes) if virtual
                                   else generator_norm(norm, maps, num_classes) for maps in widths)
        self.relu = nn.ReLU(inplace=True)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(maps, fewer, 4, stride=2, padding=1, bias=bias)
            for maps, fewer in pairwise(widths)
        )
        self.ups.append(nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1))

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        check_cond(cond, self.num_classes)
        if self.references is not None:
            z, cond = self.references.before(z, cond)
        h = self.project(z).contiguous(memory_format=layout_of(self.ups[0].weight))
        for norm, up in zip(self.norms, self.ups, strict=True):
            h = up(self.relu(normalise(norm, h, cond)))
        return (h if self.references is None else self.references.without(h)).tanh()


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1); features are the last maps, flattened.

    Args:
        width: maps of the first layer; twice as many at each halving, up to eight times.
        norm: after each convolution but the first.
        minibatch: `discrimination` appends to the features how close a sample's are to those of the others.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, width: int = 64,
                 norm: CriticNorm = "batch", minibatch: Minibatch = "none"):
        super().__init__()
        base, widths = _plan(resolution, width)
        check_norm("model.d_norm", norm, CriticNorm)
        self.num_classes = num_classes
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1), leaky_relu()]
        for maps, more in pairwise(widths):
            layers.append(nn.Conv2d(maps, more, 4, stride=2, padding=1, bias=needs_bias(norm)))
            layers += [norm_2d(norm, more), leaky_relu()] if is_normalised(norm) else [leaky_relu()]
        self.maps = nn.Sequential(*layers)
        self.minibatch, self.num_features = minibatch_layer(minibatch, widths[-1] * base**2)
        self.last = nn.Linear(self.num_features, 1)
        # On the same vector as the last layer: summed over space, so few layers would see no more than strokes.
        self.projection = Projection(self.num_features, num_classes) if num_classes else None
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        features = self.minibatch(flatten(self.maps(x)))
        return with_projection(self.last(features), features, self.projection, cond, return_features)
