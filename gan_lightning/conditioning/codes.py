"""Codes: the part of a latent that is to mean something (Chen et al. 2016, InfoGAN, arXiv:1606.03657)."""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gan_lightning.errors import ConfigError


class Codes:
    """Turns the first coordinates of a normal z into codes, and leaves the rest as noise.

    A categorical code of k values takes k coordinates and becomes one-hot at the largest of them: all are equally
    likely, as coordinates are alike. A continuous one takes a coordinate through the normal distribution's function,
    and is uniform in [-1, 1]. So every way to draw, move or fix a z draws, moves or fixes codes too.

    Args:
        categorical: the number of values of each categorical code.
        continuous: how many continuous codes.
    """

    def __init__(self, categorical: Sequence[int] = (10,), continuous: int = 2):
        if any(k < 2 for k in categorical) or continuous < 0 or not (categorical or continuous):
            raise ConfigError(f"task.codes: categorical={list(categorical)} continuous={continuous}: categorical codes "
                              "have at least 2 values, and there must be a code")
        self.categorical, self.continuous = tuple(categorical), continuous
        self.size = sum(categorical) + continuous

    def check(self, z_dim: int) -> None:
        """ConfigError unless z has room for the codes."""
        if z_dim < self.size:
            raise ConfigError(f"model.z_dim={z_dim}: task.codes take {self.size} coordinates of z")

    def classes(self, z: Tensor) -> list[Tensor]:
        """The value of each categorical code: (N,) int64 each."""
        return [part.argmax(1) for part in z[:, :sum(self.categorical)].split(self.categorical, dim=1)]

    def values(self, z: Tensor) -> Tensor:
        """The continuous codes, (N, continuous) in [-1, 1]."""
        return torch.erf(z[:, sum(self.categorical):self.size] / sqrt(2))

    def __call__(self, z: Tensor) -> Tensor:
        """z (N, z_dim) -> what G is fed, (N, z_dim)."""
        hot = [one_hot(value, k).to(z.dtype) for value, k in zip(self.classes(z), self.categorical, strict=True)]
        return torch.cat([*hot, self.values(z), z[:, self.size:]], dim=1)
