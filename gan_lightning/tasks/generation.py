"""Noise to sample, optionally given a class label."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_lightning.augment.base import Augment
from gan_lightning.conditioning.codes import Codes
from gan_lightning.errors import ConfigError
from gan_lightning.latents import Distribution, indexed, latent
from gan_lightning.losses.objective import Objective
from gan_lightning.tasks.base import Batch
from gan_lightning.tasks.latent_step import LatentStep
from gan_lightning.tasks.versus import Versus
from gan_lightning.terms.path_length import PathLength


class Generation(Versus):
    """The game of Goodfellow et al. 2014, and of Mirza & Osindero 2014 when the networks take labels.

    Args:
        latent: distribution of z; see `gan_lightning.latents`.
        codes: what of z means something that D is to find again (InfoGAN); null for plain noise.
        latent_step: moves z before it is used (LOGAN); null leaves it.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, objective: Objective,
                 latent: Distribution = "normal", augment: Augment | None = None,
                 codes: Codes | None = None, latent_step: LatentStep | None = None):
        super().__init__(generator, discriminator, objective, augment)
        if getattr(generator, "z_dim", 0) < 1:
            raise ConfigError("model.z_dim: the generator must have an attribute z_dim of at least 1, got "
                              f"{getattr(generator, 'z_dim', None)}")
        self.latent, self.num_classes = latent, getattr(generator, "num_classes", 0)
        self.codes, self.latent_step = codes, latent_step
        if codes is not None:
            self._check_codes(codes)
        if getattr(discriminator, "num_classes", 0) not in (0, self.num_classes):
            raise ConfigError(f"G takes no labels, and D is told those of {discriminator.num_classes} classes: choose "
                              "conditioning=native, or a model that has model.conditional and set it to true")

    def cond(self, batch: Batch) -> Tensor | None:
        return batch["label"] if self.num_classes else None

    def prepare(self, batch: Batch) -> Batch:
        """The batch with latents `z`, one per real, unless it has them, and with how far they were moved."""
        if "z" in batch:
            return batch
        real = batch["real"]
        z = latent(self.latent, (len(real), self.g.z_dim), real.device)
        if self.latent_step is not None:
            cond, drawn = self.cond(batch), z
            z = self.latent_step(z, lambda z: self.critic(self._generate(self.g.forward, z, cond), cond),
                                 bound=1.0 if self.latent == "uniform" else None)
            batch = batch | {"moves": z - drawn}
        return batch | {"z": z}

    @property
    def d_learns_through_fakes(self) -> bool:
        return self.latent_step is not None and self.latent_step.differentiable

    def costs(self, batch: Batch) -> dict[str, Tensor]:
        return self.latent_step.costs(batch["moves"]) if "moves" in batch else {}

    def generate(self, batch: Batch, g: nn.Module) -> Tensor:
        """Fakes for the latents `batch["z"]` if it has them, else for new ones, one per real."""
        batch = self.prepare(batch)
        return self._generate(g, batch["z"], self.cond(batch))

    def fakes(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self._generate(self.g, z, cond)

    def fed(self, z: Tensor) -> Tensor:
        """What G is fed for these latents: codes at their beginning, where there are any."""
        return z if self.codes is None else self.codes(z)

    def _generate(self, g: Callable[..., Tensor], z: Tensor, cond: Tensor | None) -> Tensor:
        return g(self.fed(z), cond)

    def _check_codes(self, codes: Codes) -> None:
        codes.check(self.g.z_dim)
        if self.latent != "normal":
            raise ConfigError(f"task.latent={self.latent}: task.codes are made of normal latents; choose "
                              "task.latent=normal")
        if self.num_classes:
            raise ConfigError("model.conditional=true: beside task.codes D is told no labels, so that they would mean "
                              "nothing; choose model.conditional=false")
        if getattr(self.g, "style_mixing", 0):
            raise ConfigError(f"model.style_mixing={self.g.style_mixing}: beside task.codes an image would have two "
                              "codes; choose model.style_mixing=0")
        if any(isinstance(term, PathLength) for term in self.objective.g_terms.values()):
            raise ConfigError("loss.g_terms.path_length: does not know of task.codes; leave one of them out")

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
