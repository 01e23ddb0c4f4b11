"""Weight decay towards orthogonality."""

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term, Weight

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Orthogonal(Term):
    """Sum over layers of ||W W' - I||_F^2, W with one row per output (Brock et al. 2017, sec. 3.4).

    Args:
        diagonal: false leaves the rows' lengths free and only makes them orthogonal,
            ||W W' * (1 - I)||_F^2 (Brock et al. 2019, eq. 3).
    """

    allows_sharding = False

    def __init__(self, weight: Weight = 1e-4, every: int = 1, diagonal: bool = False):
        super().__init__(weight, every)
        self.diagonal = diagonal

    def bind(self, task: Task) -> None:
        player = self.player_in(task)
        if not layer_weights(getattr(task, player)):
            raise ConfigError(f"loss.{player}_terms: Orthogonal is of dense and convolution layers, and this "
                              "network's own scale their weights; choose another model, or leave it out of term")

    def __call__(self, step: Step) -> Tensor:
        with torch.autocast(step.fake.device.type, enabled=False):
            return torch.stack([self._distance(w) for w in layer_weights(step.network)]).sum()

    def _distance(self, weight: Tensor) -> Tensor:
        gram = weight @ weight.T
        gram = gram - torch.diag(gram.diagonal() if not self.diagonal else gram.new_ones(len(gram)))
        return gram.square().sum()


def layer_weights(network: nn.Module) -> list[Tensor]:
    """The weights of torch's own dense and convolution layers as matrices, a row for each output."""
    layers = [m for m in network.modules() if isinstance(m, _LAYERS + _TRANSPOSED)]
    return [(m.weight.transpose(0, 1) if isinstance(m, _TRANSPOSED) else m.weight).flatten(1) for m in layers]
