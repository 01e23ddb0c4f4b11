"""The distribution of z, and latents that belong to a sample's number instead of to a moment of the run."""

from math import erf, inf, sqrt
from typing import Literal, get_args

import torch
from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.randomness import mix

Distribution = Literal["normal", "uniform", "spherical"]
"""N(0, 1); U(-1, 1); normal scaled to length sqrt(z_dim), so that coordinates keep unit variance."""


def latent(distribution: Distribution, shape: tuple[int, int], device: torch.device | str = "cpu",
           generator: torch.Generator | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Draws z of `shape` (N, z_dim)."""
    if distribution == "uniform":
        return torch.rand(shape, device=device, generator=generator, dtype=dtype) * 2 - 1
    z = torch.randn(shape, device=device, generator=generator, dtype=dtype)
    if distribution == "spherical":
        z = z * (shape[1] ** 0.5 / z.norm(dim=1, keepdim=True))
    elif distribution != "normal":
        raise ConfigError(f"task.latent={distribution}: must be one of {', '.join(get_args(Distribution))}")
    return z


def indexed(distribution: Distribution, indices: range, seed: int, z_dim: int, num_classes: int = 0,
            truncation: float | None = None) -> tuple[Tensor, Tensor]:
    """z, (N, z_dim) float32, and labels, (N,), of the samples with these numbers.

    Sample i under `seed` is the same in any batch, on any number of devices, in any precision.
    `truncation` keeps every coordinate of a normal z within +-truncation (Brock et al. 2019, sec. 3.1).
    """
    if truncation is not None and (distribution != "normal" or not 0 < truncation < inf):
        raise ConfigError(f"truncation={truncation} with task.latent={distribution}: "
                          "must be a finite number above 0, and latents must be normal")
    generator = torch.Generator()
    rows, labels = [], []
    for i in indices:
        generator.manual_seed(mix(seed, i))
        if truncation is None:
            rows.append(latent(distribution, (1, z_dim), generator=generator, dtype=torch.float32))
        else:
            u = torch.rand((1, z_dim), generator=generator, dtype=torch.float64)
            rows.append(_truncated(u, truncation))
        labels.append(torch.randint(max(num_classes, 1), (1,), generator=generator))
    if not rows:
        return torch.empty(0, z_dim, dtype=torch.float32), torch.empty(0, dtype=torch.long)
    return torch.cat(rows), torch.cat(labels)


def _truncated(u: Tensor, bound: float) -> Tensor:
    """A normal truncated to +-bound from uniform `u`, through the inverse distribution function."""
    mass = erf(bound / sqrt(2))
    return (sqrt(2) * torch.erfinv((2 * u - 1) * mass)).clamp(-bound, bound).float()
