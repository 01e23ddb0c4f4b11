"""Drift penalty."""

from torch import Tensor

from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step
from gan_lightning.terms.base import Term, Weight


class Drift(Term):
    """E D(real)^2: keeps a Wasserstein critic, free to add any constant, near zero (Karras et al. 2018, app. A.1)."""

    players = ("d",)

    def __init__(self, weight: Weight = 1e-3, every: int = 1):
        super().__init__(weight, every)

    def __call__(self, step: Step) -> Tensor:
        return at_least_float32(step.real_logits).square().mean()
