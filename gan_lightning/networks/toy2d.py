"""Multilayer perceptrons on points, for mixtures of Gaussians.

After the toy experiments of Metz et al. 2017, arXiv:1611.02163, and Gulrajani et al. 2017, arXiv:1704.00028.
"""

from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import (
    DenseCriticNorm,
    add_spectral_norm,
    check_cond,
    check_norm,
    dense_stack,
    leaky_relu,
)


def _check_points(resolution: int) -> None:
    if resolution != 1:
        raise ConfigError(f"data.resolution={resolution}: toy2d works on points, not on images; choose "
                          "data=gaussians_ring or data=gaussians_grid, or another model")


class Generator(nn.Module):
    """z (N, z_dim) -> points (N, dim), unbounded.

    Args:
        dim: coordinates of a point.
        resolution: 1, which is that of points.
        width, depth: of the hidden ReLU layers.
    """

    def __init__(self, dim: int, resolution: int = 1, z_dim: int = 2, width: int = 128, depth: int = 3):
        super().__init__()
        _check_points(resolution)
        self.z_dim, self.num_classes = z_dim, 0
        self.hidden = dense_stack([z_dim] + depth * [width], lambda: nn.ReLU(inplace=True))
        self.last = nn.Linear(width, dim)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        check_cond(cond, self.num_classes)
        return self.last(self.hidden(z))


class Discriminator(nn.Module):
    """Points (N, dim) -> logits (N, 1); features are the last hidden layer.

    Args:
        dim: coordinates of a point.
        resolution: 1, which is that of points.
        width, depth: of the hidden leaky ReLU layers.
        num_classes: 0, as points have no labels.
        norm: between layers, from the second on.
    """

    def __init__(self, dim: int, resolution: int = 1, num_classes: int = 0, width: int = 128, depth: int = 3,
                 norm: DenseCriticNorm = "none"):
        super().__init__()
        _check_points(resolution)
        if num_classes:
            raise ConfigError(f"model.discriminator.num_classes={num_classes}: points have no labels; choose 0")
        check_norm("model.d_norm", norm, DenseCriticNorm)
        self.num_classes, self.num_features = 0, width
        self.hidden = dense_stack([dim] + depth * [width], leaky_relu, norm)
        self.last = nn.Linear(width, 1)
        if norm == "spectral":
            add_spectral_norm(self)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        features = self.hidden(x)
        logits = self.last(features)
        return (logits, features) if return_features else logits
