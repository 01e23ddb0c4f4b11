"""Weight decay towards orthogonality."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term, Weight

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Orthogonal(Term):
    """Sum over layers of ||W W' - I||_F^2, W with one row per output (Brock et al. 2017, sec. 3.4).

    W is the weight that is learnt, before spectral normalisation.

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
        """By the smaller of W W' and W' W, which have the same norm: a dense layer of BigGAN has 24,576 rows."""
        rows, columns = weight.shape
        gram = weight @ weight.T if rows <= columns else weight.T @ weight
        if self.diagonal:    # W W' has the eigenvalues of W' W, and rows - columns zeros
            eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            return (gram - eye).square().sum() + max(rows - columns, 0)
        if rows <= columns:
            return (gram - gram.diagonal().diag()).square().sum()
        return gram.square().sum() - weight.square().sum(1).square().sum()    # less the diagonal of W W'


def layer_weights(network: nn.Module) -> list[Tensor]:
    """The weights of torch's own dense and convolution layers as matrices, a row for each output.

    Of a layer with spectral normalisation the weight that is learnt, not what is left of it after division: by a larger
    sigma, W / sigma falls in any norm but the spectral one, which is always 1.
    """
    layers = [m for m in network.modules() if isinstance(m, _LAYERS + _TRANSPOSED)]
    return [(_learnt(m).transpose(0, 1) if isinstance(m, _TRANSPOSED) else _learnt(m)).flatten(1) for m in layers]


def _learnt(layer: nn.Module) -> Tensor:
    one = is_parametrized(layer, "weight") and layer.parametrizations.weight.is_tensor    # weight_norm's are two
    return layer.parametrizations.weight.original if one else layer.weight
