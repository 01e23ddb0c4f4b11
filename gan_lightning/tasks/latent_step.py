"""Latent optimisation: z is moved to where D likes G's image better, before either player learns from it."""

from collections.abc import Callable

import torch
from torch import Tensor

from gan_lightning.errors import ConfigError


class LatentStep:
    """LOGAN: one step of natural gradient ascent, z' = [z + dz] with dz = rate * g / (damping + |g|^2), g being the
    gradient of D(G(z)) by each sample's z (Wu et al. 2019, arXiv:1912.00953, eq. 14 and alg. 1). Both players' losses
    are taken at z', and to both is added weight * E |z' - z|^2, the mean over samples of the squared length.

    Whatever g is, |dz| <= rate / (2 sqrt(damping)): 1.4 by default, and 0.2 with the damping of 5 that the paper's
    BigGAN-deep has, which moves little in a small net. [.] cuts z' to where z is drawn from: uniform latents to
    [-1, 1], others have no bound. Samples by number (`GAN.sample`) are of latents as they are drawn.

    Args:
        rate, damping: the paper's alpha and beta.
        weight: of the squared length, the paper's w_r.
        share: how many elements of each z move, chosen at random in each step, each by itself; the paper's c. The
            length is that of the whole gradient: those that move go as far as with a share of 1.
        differentiable: G and D learn through the step too, by second derivatives, as in the paper. false treats the
            moved z as given, for less time: then its length is out of both players' hands, and `weight` does nothing.
    """

    def __init__(self, rate: float = 0.9, damping: float = 0.1, weight: float = 0.1, share: float = 0.8,
                 differentiable: bool = True):
        if rate <= 0 or damping <= 0:
            raise ConfigError(f"task.latent_step: rate={rate} and damping={damping} must be above 0")
        if weight < 0:
            raise ConfigError(f"task.latent_step.weight={weight}: must be at least 0")
        if not 0 < share <= 1:
            raise ConfigError(f"task.latent_step.share={share}: must be above 0, and at most 1")
        self.rate, self.damping, self.weight, self.share = rate, damping, weight, share
        self.differentiable = differentiable

    def __call__(self, z: Tensor, logits: Callable[[Tensor], Tensor], bound: float | None = None) -> Tensor:
        """z (N, z_dim) -> z' (N, z_dim), within +-`bound` if there is one; `logits` are D's for G's images."""
        through = self.differentiable and torch.is_grad_enabled()
        with torch.enable_grad(), torch.autocast(z.device.type, enabled=False):
            leaf = z.detach().requires_grad_()
            (g,) = torch.autograd.grad(logits(leaf).flatten(1).mean(1).sum(), leaf, create_graph=through)
            step = self.rate * g / (self.damping + g.square().sum(1, keepdim=True))
            if self.share < 1:
                step = step * (torch.rand_like(z) < self.share)
            moved = leaf.detach() + step
            return moved if bound is None else moved.clamp(-bound, bound)

    def costs(self, moves: Tensor) -> dict[str, Tensor]:
        """What both players pay for the moves z' - z, (N, z_dim), if they can do anything about them."""
        if not (self.weight and self.differentiable):
            return {}
        return {"latent_step": self.weight * moves.square().sum(1).mean()}
