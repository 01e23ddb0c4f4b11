"""Parts that several networks share: checks, norms by name, label layers, dense stacks."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.utils.parametrize import register_parametrization

from gan_lightning.errors import ConfigError
from gan_lightning.networks.spectral import SpectralNorm

GeneratorNorm = Literal["batch", "none", "instance", "layer"]
CriticNorm = Literal["none", "batch", "layer", "instance", "spectral"]
DenseCriticNorm = Literal["none", "batch", "layer", "spectral"]    # instance normalisation needs feature maps


def check_choice(option: str, value: object, allowed: Iterable[str]) -> None:
    """ConfigError, with a guess at what was meant, unless `value` is one of `allowed`."""
    allowed = list(allowed)
    if value in allowed:
        return
    close = get_close_matches(str(value), allowed, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    raise ConfigError(f"{option}={value}: must be one of {', '.join(allowed)}{guess}")


def check_norm(option: str, norm: str, kinds: object) -> None:
    """ConfigError unless `norm` is one of the literals `kinds`, e.g. CriticNorm."""
    check_choice(option, norm, get_args(kinds))


def check_resolution(resolution: int, possible: bool, makes: str) -> None:
    """ConfigError unless `possible`; `makes` says what the model makes: "dcgan makes 8 to 128 px"."""
    if possible and resolution > 1:
        return
    advice = "points need model=toy2d" if resolution == 1 else "choose one of these or another model"
    raise ConfigError(f"data.resolution={resolution}: {makes}; {advice}")


def width_or(width: int | None, papers: int) -> int:
    """`width`, or the paper's where it is None; ConfigError under 1."""
    if width is not None and width < 1:
        raise ConfigError(f"model.width={width}: must be at least 1, or null for the paper's")
    return papers if width is None else width


def check_cond(cond: Tensor | None, num_classes: int) -> None:
    """ValueError unless labels (N,) int64 come exactly where the network takes them."""
    if num_classes and cond is None:
        raise ValueError(f"this network takes labels of {num_classes} classes: cond must not be None")
    if not num_classes and cond is not None:
        raise ValueError("this network is unconditional: cond must be None")
    if cond is not None and (cond.ndim != 1 or cond.dtype != torch.int64):
        raise ValueError(f"cond must be int64 labels of shape (N,), got {cond.dtype} of {tuple(cond.shape)}")


def is_normalised(norm: str) -> bool:
    """Whether `norm` puts layers between the weights, rather than nothing or a constraint on them."""
    return norm not in ("none", "spectral")


def needs_bias(norm: str) -> bool:
    """Whether what comes before `norm` should have a bias of its own: these three cancel any constant of a map."""
    return norm not in ("batch", "instance", "virtual")


def norm_2d(norm: str, channels: int, affine: bool = True) -> nn.Module:
    """The normalisation of feature maps called `norm`; the identity for `none` and `spectral`."""
    if norm == "batch":
        return nn.BatchNorm2d(channels, affine=affine)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=affine)
    if norm == "layer":
        return nn.GroupNorm(1, channels, affine=affine)
    return nn.Identity()


def norm_1d(norm: str, features: int) -> nn.Module:
    """The normalisation of feature vectors called `norm`; the identity for `none` and `spectral`."""
    if norm == "batch":
        return nn.BatchNorm1d(features)
    if norm == "layer":
        return nn.LayerNorm(features)
    return nn.Identity()


def add_spectral_norm(network: nn.Module,
                      kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d, nn.Embedding)) -> None:
    """Divides each weight of `network` by its largest singular value, embeddings and last layer included
    (Miyato et al. 2018, arXiv:1802.05957, eq. 8). A generator's embeddings hold inputs and gains, not maps of
    features, so there `kinds` are the other two."""
    for module in list(network.modules()):
        if isinstance(module, kinds):
            register_parametrization(module, "weight", SpectralNorm(module.weight))


class ConditionalNorm(nn.Module):
    """A normalisation whose gain and bias belong to the class: gain[cond] * norm(x) + bias[cond].

    With `batch` the conditional batch normalisation of de Vries et al. 2017 (arXiv:1707.00683), as Miyato &
    Koyama 2018 (arXiv:1802.05637) use it in GANs. Every class starts at gain 1 and bias 0.
    """

    skip_init = True    # a random gain would start each class as another network

    def __init__(self, norm: str, channels: int, num_classes: int):
        super().__init__()
        self.norm = norm_2d(norm, channels, affine=False)
        self.gain = nn.Embedding(num_classes, channels)
        self.bias = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        gain, bias = self.gain(cond)[..., None, None], self.bias(cond)[..., None, None]    # (N, C, 1, 1)
        return torch.addcmul(bias, gain, self.norm(x))


def generator_norm(norm: str, channels: int, num_classes: int) -> nn.Module:
    """The normalisation of a generator's maps, by class where there are any; call it by `normalise`."""
    return ConditionalNorm(norm, channels, num_classes) if num_classes else norm_2d(norm, channels)


def normalise(norm: nn.Module, x: Tensor, cond: Tensor | None) -> Tensor:
    """`norm` of `x`, by class where the layer is conditional."""
    return norm(x, cond) if isinstance(norm, ConditionalNorm) else norm(x)


def check_label_route(norm: str, num_classes: int, model: str) -> None:
    """ConfigError where labels would reach a generator through normalisation and it has none."""
    if num_classes and norm == "none":
        raise ConfigError(f"model.g_norm=none: a conditional {model} takes its labels through normalisation; "
                          "choose batch, instance or layer, or model.conditional=false")


class Projection(nn.Module):
    """<embed(cond), features>: a class's part of a logit, (N, F) -> (N, 1) (Miyato & Koyama 2018, eq. 3)."""

    def __init__(self, num_features: int, num_classes: int):
        super().__init__()
        self.embed = nn.Embedding(num_classes, num_features)
        # An embedding's own N(0, 1) would drown the rest of the logit: treat it as the linear map that it is.
        # model.init=orthogonal redraws it.
        nn.init.xavier_uniform_(self.embed.weight)

    def forward(self, features: Tensor, cond: Tensor) -> Tensor:
        return (self.embed(cond) * features).sum(1, keepdim=True)


def with_projection(logits: Tensor, features: Tensor, projection: Projection | None, cond: Tensor | None,
                    return_features: bool) -> Tensor | tuple[Tensor, Tensor]:
    """What a discriminator returns: logits with the class's part, if it has a projection, and on request features."""
    if projection is not None:
        logits = logits + projection(features, cond)
    return (logits, features) if return_features else logits


class LabelConcat(nn.Module):
    """Appends an embedding of the label to a vector, (N, F) -> (N, F + label_dim) (Mirza & Osindero 2014,
    arXiv:1411.1784, with a learned embedding); without classes it passes the vector on."""

    def __init__(self, num_features: int, num_classes: int, label_dim: int):
        super().__init__()
        self.num_classes = num_classes
        self.out_features = num_features + (label_dim if num_classes else 0)
        self.embed = nn.Embedding(num_classes, label_dim) if num_classes else None

    def forward(self, x: Tensor, cond: Tensor | None) -> Tensor:
        check_cond(cond, self.num_classes)
        return x if self.embed is None else torch.cat([x, self.embed(cond)], dim=1)


class _Flatten(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.shape, ctx.layout = maps.shape, layout_of(maps)
        return maps.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.reshape(ctx.shape).contiguous(memory_format=ctx.layout)


def flatten(maps: Tensor) -> Tensor:
    """`maps.flatten(1)`, with a gradient in the maps' memory format: layers before take many times as long in two."""
    return _Flatten.apply(maps)


def layout_of(tensor: Tensor) -> torch.memory_format:
    """The memory format of maps, or of a convolution's weights."""
    if tensor.is_contiguous() or not tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


def leaky_relu() -> nn.Module:
    """Slope 0.2, out of place: penalties differentiate through critics twice."""
    return nn.LeakyReLU(0.2)


def project_to_maps(features: int, maps: int, size: int, norm: str, activation: nn.Module) -> nn.Sequential:
    """Vectors (N, features) -> maps (N, maps, size, size), normalised and activated: how a generator begins."""
    return nn.Sequential(
        nn.Linear(features, maps * size**2, bias=needs_bias(norm)),
        nn.Unflatten(1, (maps, size, size)),
        norm_2d(norm, maps), activation,
    )


def dense_stack(sizes: Sequence[int], activation: Callable[[], nn.Module],
                norm: str = "none") -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1], each activated, normalised from the second on."""
    layers: list[nn.Module] = []
    for position, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        normed = is_normalised(norm) and position > 0
        layers.append(nn.Linear(fan_in, fan_out, bias=not normed or needs_bias(norm)))
        if normed:
            layers.append(norm_1d(norm, fan_out))
        layers.append(activation())
    return nn.Sequential(*layers)
