"""Multilayer perceptrons on images, as in Goodfellow et al. 2014, arXiv:1406.2661, section 5.

Labels come in as by Mirza & Osindero 2014, arXiv:1411.1784: embedded and concatenated to the input.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import (
    DenseCriticNorm,
    LabelConcat,
    add_spectral_norm,
    check_choice,
    check_norm,
    check_resolution,
    dense_stack,
    leaky_relu,
)
from gan_lightning.networks.minibatch import Minibatch, minibatch_layer

Output = Literal["sigmoid", "tanh"]


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    Args:
        hidden: widths of the ReLU layers.
        output: `sigmoid` is the paper's, stretched from its [0, 1] to [-1, 1]: 2 sigmoid(h) - 1, which is
            tanh(h / 2); or `tanh`.
        label_dim: length of the label's embedding.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 100,
                 hidden: Sequence[int] = (128, 128, 100, 100), output: Output = "sigmoid",
                 label_dim: int = 32):
        super().__init__()
        check_resolution(resolution, resolution >= 2, "an MLP makes images of 2 px and more")
        check_choice("model.generator.output", output, ("sigmoid", "tanh"))
        self.z_dim, self.num_classes, self.output = z_dim, num_classes, output
        self.image_shape = (channels, resolution, resolution)
        self.label = LabelConcat(z_dim, num_classes, label_dim)
        self.hidden = dense_stack([self.label.out_features, *hidden], lambda: nn.ReLU(inplace=True))
        self.last = nn.Linear(hidden[-1], channels * resolution**2)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.last(self.hidden(self.label(z, cond)))
        x = 2 * torch.sigmoid(h) - 1 if self.output == "sigmoid" else torch.tanh(h)
        return x.unflatten(1, self.image_shape)


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1); features are the last hidden layer.

    Args:
        hidden: widths of the leaky ReLU layers. (The paper's maxout needs dropout beside it to be of use.)
        norm: between layers, from the second on.
        label_dim: length of the label's embedding.
        minibatch: `discrimination` appends to the features how close a sample's are to those of the others.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0,
                 hidden: Sequence[int] = (100, 100, 128), norm: DenseCriticNorm = "none",
                 label_dim: int = 32, minibatch: Minibatch = "none"):
        super().__init__()
        check_resolution(resolution, resolution >= 2, "an MLP takes images of 2 px and more")
        check_norm("model.d_norm", norm, DenseCriticNorm)
        self.num_classes = num_classes
        self.label = LabelConcat(channels * resolution**2, num_classes, label_dim)
        self.hidden = dense_stack([self.label.out_features, *hidden], leaky_relu, norm)
        self.minibatch, self.num_features = minibatch_layer(minibatch, hidden[-1])
        self.last = nn.Linear(self.num_features, 1)
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        features = self.minibatch(self.hidden(self.label(x.flatten(1), cond)))
        logits = self.last(features)
        return (logits, features) if return_features else logits
