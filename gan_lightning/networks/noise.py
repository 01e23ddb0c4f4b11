"""Noise between layers, for what z need not decide: hair, freckles, the grain of a surface."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import check_choice
from gan_lightning.randomness import mix

Mode = Literal["const", "none", "random"]


class Noise(nn.Module):
    """x + strength * noise, (N, C, size, size): one picture of noise for all maps of a sample (Karras et al. 2019,
    arXiv:1812.04948, sec. 3.2). Its learned strength starts at 0.

    In training noise is new for each sample. Otherwise that is for `mode` to say, see `set_noise`.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size, self.mode = size, "const"
        self.pictures: Tensor | None = None    # (N, 1, size, size), for mode=random; see `number_noise`
        self.strength = nn.Parameter(torch.zeros(1))
        self.register_buffer("constant", torch.randn(1, 1, size, size))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.mode == "none":
            return x
        if not self.training and self.mode == "const":
            noise = self.constant
        elif self.training or self.pictures is None:
            noise = torch.randn_like(x[:, :1])
        else:
            noise = self.pictures
        return x + self.strength.to(x.dtype) * noise.to(x.dtype)


def noise_layers(network: nn.Module) -> list[Noise]:
    """All layers of `network` that add noise, in its own order."""
    return [part for part in network.modules() if isinstance(part, Noise)]


def set_noise(network: nn.Module, mode: Mode) -> None:
    """What noise is in eval mode: `const`, always the same, so that a sample is a function of its z; `random`, new for
    each sample; `none`.

    Raises:
        ConfigError: another mode.
    """
    check_choice("noise", mode, get_args(Mode))
    for layer in noise_layers(network):
        layer.mode, layer.pictures = mode, None


def number_noise(network: nn.Module, numbers: range, seed: int) -> None:
    """Random noise for a batch of the samples with these numbers: a function of (seed, number), on every device."""
    layers = noise_layers(network)
    generator, rows = torch.Generator(), []
    for number in numbers:
        generator.manual_seed(mix(seed, number, 1))    # latents have mix(seed, number)
        rows.append([torch.randn(1, 1, layer.size, layer.size, generator=generator) for layer in layers])
    for layer, pictures in zip(layers, zip(*rows, strict=True), strict=True):
        layer.pictures = torch.cat(pictures).to(layer.constant)
