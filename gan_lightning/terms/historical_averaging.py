"""Historical averaging."""

import torch
from torch import Tensor, nn

from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term, Weight


class HistoricalAveraging(Term, nn.Module):
    """||theta - mean of theta over all steps so far, this one included||^2 of the player's weights (Salimans et al.
    2016, arXiv:1606.03498, sec. 3.3): orbits around an equilibrium are drawn inwards.

    The mean is a second copy of the weights, in checkpoints too; steps that a lazy term skips are not in it.
    """

    allows_sharding = False

    def __init__(self, weight: Weight = 1.0, every: int = 1):
        nn.Module.__init__(self)
        super().__init__(weight, every)

    def bind(self, task: Task) -> None:
        network = getattr(task, self.player_in(task))
        flat = torch.cat([weight.detach().flatten() for weight in network.parameters()])
        self.register_buffer("weights_mean", torch.zeros_like(flat))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))  # equal on all devices

    def __call__(self, step: Step) -> Tensor:
        weights = list(step.network.parameters())
        self._follow(weights)
        # A copy: the next batch of this step may move the mean before this one's backward pass.
        means = self.weights_mean.clone().split([weight.numel() for weight in weights])
        return torch.stack([(weight - mean.view(weight.shape)).square().sum()
                            for weight, mean in zip(weights, means, strict=True)]).sum()

    @torch.no_grad()
    def _follow(self, weights: list[nn.Parameter]) -> None:
        self.num_batches_tracked += 1
        flat = torch.cat([weight.flatten() for weight in weights])
        self.weights_mean.lerp_(flat, 1 / self.num_batches_tracked.to(flat.dtype))
