"""Self-supervision of D: its maps of a real image must suffice to draw it again."""

import torch
from torch import Tensor

from gan_lightning.augment.base import Augment, augmented
from gan_lightning.conditioning.base import beneath_head
from gan_lightning.errors import ConfigError
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term


class Reconstruction(Term):
    """mean |decoded - real| of the whole real image plus that of one of its quarters, drawn anew in each step, both as
    D's decoders make them (Liu et al. 2021, arXiv:2101.04775, sec. 3.2, who measure the distance by LPIPS).

    Reals are taken as D sees them, after augmentation, which is drawn anew for this: it costs another pass of the reals
    through D's encoder.
    """

    players = ("d",)
    allows_sharding = False    # weights are whole only within D's forward, and this calls another method
    augment: Augment | None = None    # the task's, where it has one

    def bind(self, task: Task) -> None:
        if getattr(beneath_head(task.d), "decoders", None) is None:
            raise ConfigError("loss.d_terms.reconstruction: needs a discriminator with decoders (model=fastgan "
                              "model.decoders=true); or set it to null")
        self.augment = getattr(task, "augment", None)

    def __call__(self, step: Step) -> Tensor:
        part = int(torch.randint(4, ()))    # on the CPU: a device would have to be waited for
        with torch.no_grad():
            real = augmented(self.augment, step.real)
        pairs = beneath_head(step.network).reconstruct(real.detach(), part)
        return sum((at_least_float32(decoded) - at_least_float32(target)).abs().mean() for decoded, target in pairs)
