"""Spectral regularisation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import POWER_ITERATIONS
from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term, Weight
from gan_lightning.terms.orthogonal import layer_weights


class SpectralRegularisation(Term, nn.Module):
    """Half the sum over layers of the largest singular value of W squared, W with one row per output (Yoshida & Miyato
    2017, arXiv:1705.10941, eq. 3 and alg. 1).

    Singular vectors are followed by one power iteration in each step, as weights move little between two.
    """

    allows_sharding = False

    def __init__(self, weight: Weight = 0.01, every: int = 1):
        nn.Module.__init__(self)
        super().__init__(weight, every)
        self.vectors: list[str] = []  # names of the left singular vectors, one for each layer

    @torch.no_grad()
    def bind(self, task: Task) -> None:
        network = getattr(task, self.player_in(task))
        matrices = layer_weights(network)
        if not matrices:
            raise ConfigError("spectral_regularisation: this network has no linear or convolution layers of torch; "
                              "choose another model, or leave it out of term")
        self.vectors = [f"u{i}" for i in range(len(matrices))]
        for name, matrix in zip(self.vectors, matrices, strict=True):
            self.register_buffer(name, F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        for _ in range(POWER_ITERATIONS):
            self._iterate(matrices)

    def __call__(self, step: Step) -> Tensor:
        with torch.autocast(step.fake.device.type, enabled=False):
            matrices = layer_weights(step.network)
            rights = self._iterate(matrices)
            lefts = [getattr(self, name).clone() for name in self.vectors]
            values = [left @ matrix @ right for left, matrix, right in zip(lefts, matrices, rights, strict=True)]
            return torch.stack(values).square().sum() / 2

    @torch.no_grad()
    def _iterate(self, matrices: list[Tensor]) -> list[Tensor]:
        """Moves the left singular vectors on; returns the right ones that belong to them."""
        rights = []
        for name, matrix in zip(self.vectors, matrices, strict=True):
            left = getattr(self, name)
            left.copy_(F.normalize(matrix @ F.normalize(matrix.T @ left, dim=0), dim=0))
            rights.append(F.normalize(matrix.T @ left, dim=0))
        return rights
