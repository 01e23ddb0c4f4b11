"""Constraints on D's weights, restored after each of its steps."""

import torch
from torch import nn

from gan_lightning.errors import ConfigError


class WeightClip:
    """Clamps every weight of D to [-bound, bound] (Arjovsky et al. 2017, alg. 1)."""

    def __init__(self, bound: float = 0.01):
        if bound <= 0:
            raise ConfigError(f"loss.d_constraints.clip.bound={bound}: must be above 0")
        self.bound = bound

    @torch.no_grad()
    def __call__(self, d: nn.Module) -> None:
        parameters = list(d.parameters())
        torch._foreach_clamp_min_(parameters, -self.bound)
        torch._foreach_clamp_max_(parameters, self.bound)
