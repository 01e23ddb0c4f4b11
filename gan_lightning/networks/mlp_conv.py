"""A small convolutional discriminator (its opponent is an MLP: see networks/mlp.py)."""

from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import (
    CriticNorm,
    LabelConcat,
    add_spectral_norm,
    check_norm,
    check_resolution,
    flatten,
    is_normalised,
    leaky_relu,
    needs_bias,
    norm_2d,
)

WIDTHS = (32, 64, 128)
DENSE = 128


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1); features are the dense layer's 128.

    5x5 convolutions of stride 2, a dense layer, leaky ReLU. Labels join between the two, embedded.

    Args:
        norm: after the second and third convolutions.
        label_dim: length of the label's embedding.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, norm: CriticNorm = "none",
                 label_dim: int = 32):
        super().__init__()
        check_resolution(resolution, resolution >= 8, "mlp_conv takes images of 8 px and more")
        check_norm("model.d_norm", norm, CriticNorm)
        if norm == "instance" and resolution == 8:    # the last maps are 1x1
            raise ConfigError("model.d_norm=instance: needs data.resolution from 9 on; choose another norm")
        self.num_classes, self.num_features = num_classes, DENSE
        layers: list[nn.Module] = []
        maps, size = channels, resolution
        for width in WIDTHS:
            normed = is_normalised(norm) and width != WIDTHS[0]
            layers.append(nn.Conv2d(maps, width, 5, stride=2, padding=2, bias=not normed or needs_bias(norm)))
            layers += [norm_2d(norm, width), leaky_relu()] if normed else [leaky_relu()]
            maps, size = width, (size + 1) // 2
        self.maps = nn.Sequential(*layers)
        self.label = LabelConcat(maps * size**2, num_classes, label_dim)
        self.dense = nn.Sequential(nn.Linear(self.label.out_features, DENSE), leaky_relu())
        self.last = nn.Linear(DENSE, 1)
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        features = self.dense(self.label(flatten(self.maps(x)), cond))
        logits = self.last(features)
        return (logits, features) if return_features else logits
