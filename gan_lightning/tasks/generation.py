"""Noise to sample, optionally given a class label."""

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.latents import Distribution, indexed, latent
from gan_lightning.losses.objective import Objective
from gan_lightning.tasks.base import Batch
from gan_lightning.tasks.versus import Versus


class Generation(Versus):
    """The game of Goodfellow et al. 2014, and of Mirza & Osindero 2014 when the networks take labels.

    Args:
        latent: distribution of z; see `gan_lightning.latents`.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, objective: Objective,
                 latent: Distribution = "normal"):
        super().__init__(generator, discriminator, objective)
        if getattr(generator, "z_dim", 0) < 1:
            raise ConfigError("model.z_dim: the generator must have an attribute z_dim of at least 1, got "
                              f"{getattr(generator, 'z_dim', None)}")
        self.latent, self.num_classes = latent, getattr(generator, "num_classes", 0)

    def cond(self, batch: Batch) -> Tensor | None:
        return batch["label"] if self.num_classes else None

    def generate(self, batch: Batch, g: nn.Module) -> Tensor:
        """Fakes for the latents `batch["z"]` if it has them, else for new ones, one per real."""
        z = batch.get("z")
        if z is None:
            real = batch["real"]
            z = latent(self.latent, (len(real), self.g.z_dim), real.device)
        return g(z, self.cond(batch))

    def sample_batch(self, indices: range, seed: int, label: int | Tensor | None = None,
                     truncation: float | None = None) -> Batch:
        """Latents and labels of the given sample numbers: functions of (seed, number) and nothing else.

        Labels are drawn evenly from all classes unless `label` gives one for all, or one for each.
        """
        z, drawn = indexed(self.latent, indices, seed, self.g.z_dim, self.num_classes, truncation)
        if not self.num_classes:
            return {"z": z}
        labels = drawn if label is None else torch.as_tensor(label).expand(len(indices)).clone()
        return {"z": z, "label": labels}
