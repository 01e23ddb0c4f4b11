"""Latent optimisation: z is moved to where D likes G's image better, before either player learns from it."""

from collections.abc import Callable

import torch
from torch import Tensor

from gan_lightning.errors import ConfigError


class LatentStep:
    """One step of natural gradient ascent: z + rate * g / (damping + |g|^2), with g = d D(G(z)) / d z of each sample
    (Wu et al. 2019, LOGAN, arXiv:1912.00953, eq. 14).

    Args:
        rate, damping: the paper's alpha and beta.
        differentiable: G learns through the step too, by second derivatives, as in the paper; false treats the moved z
            as given, for less time.
    """

    def __init__(self, rate: float = 0.9, damping: float = 5.0, differentiable: bool = True):
        if rate <= 0 or damping <= 0:
            raise ConfigError(f"task.latent_step: rate={rate} and damping={damping} must be above 0")
        self.rate, self.damping, self.differentiable = rate, damping, differentiable

    def __call__(self, z: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
        """z (N, z_dim) -> z (N, z_dim); `logits` are D's for G's images of latents."""
        through = self.differentiable and torch.is_grad_enabled()  # D's step takes the moved z as given
        with torch.enable_grad(), torch.autocast(z.device.type, enabled=False):
            leaf = z.detach().requires_grad_()
            (g,) = torch.autograd.grad(logits(leaf).sum(), leaf, create_graph=through)
            return leaf.detach() + self.rate * g / (self.damping + g.square().sum(1, keepdim=True))
