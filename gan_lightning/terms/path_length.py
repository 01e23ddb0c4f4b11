"""Path length regularisation."""

import math

import torch
from torch import Tensor, nn

from gan_lightning.double_backward import TwiceDifferentiable, input_gradient
from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_mean
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term, Weight


class PathLength(Term, nn.Module):
    """(|J' y| - a)^2: a step in w moves the image equally far, wherever and in whichever direction (Karras et al. 2020,
    arXiv:1912.04958, eq. 4 and 5).

    J is the Jacobian of the image by w, y an image of normal noise over sqrt(H W), and a the running mean of all
    lengths so far, over the joint batches of all devices. As where styles are mixed, each layer's w is a variable of
    its own: |J' y|^2 is the sum over w's entries, averaged over layers. In these units the paper's weight,
    ln 2 / (r^2 (ln r - ln 2)) at r px (app. B), is 2 at any size.

    The latents are the first of this step's own. Taken in float32, outside autocast.

    Args:
        every: 8 in the paper (app. B).
        decay: how far a moves towards each batch's mean.
        batch_shrink: only 1 of so many latents is used.
    """

    players = ("g",)
    allows_sharding = False

    def __init__(self, weight: Weight = 2.0, every: int = 4, decay: float = 0.01, batch_shrink: int = 2):
        nn.Module.__init__(self)
        super().__init__(weight, every)
        if not 0 < decay <= 1:
            raise ConfigError(f"loss.g_terms.path_length.decay={decay}: must be above 0 and at most 1")
        if batch_shrink < 1:
            raise ConfigError(f"loss.g_terms.path_length.batch_shrink={batch_shrink}: must be at least 1")
        self.decay, self.batch_shrink = decay, batch_shrink
        self.register_buffer("mean", torch.zeros(()))

    def bind(self, task: Task) -> None:
        if not all(hasattr(task.g, name) for name in ("mapping", "synthesis", "num_ws")):
            raise ConfigError("loss.g_terms.path_length: needs a generator with a mapping network, and this one has "
                              "none; choose model=stylegan2, or leave path_length out of term")

    def __call__(self, step: Step) -> Tensor:
        n = max(1, len(step.z) // self.batch_shrink)
        z, cond = step.z[:n].detach(), None if step.cond is None else step.cond[:n]
        lengths = path_lengths(step.network, at_least_float32(z), cond)
        with torch.no_grad():
            self.mean.lerp_(joint_mean(lengths.detach().mean()).to(self.mean.dtype), self.decay)
        return (lengths - self.mean).square().mean()


def path_lengths(g: nn.Module, z: Tensor, cond: Tensor | None) -> Tensor:
    """|J' y| for a new y of each latent: z (N, z_dim) -> (N,), differentiable by G's weights."""
    with torch.autocast(z.device.type, enabled=False), TwiceDifferentiable():
        ws = g.mapping(z, cond)[:, None].repeat(1, g.num_ws, 1)    # (N, num_ws, w_dim)
        images = g.synthesis(ws)
        y = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        gradient = input_gradient(images * y, ws)
        return (gradient.square().sum(2).mean(1) + 1e-12).sqrt()    # a length of zero has a finite derivative
