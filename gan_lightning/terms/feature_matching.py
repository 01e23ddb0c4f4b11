"""Feature matching."""

from torch import Tensor

from gan_lightning.joint import joint_mean
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step
from gan_lightning.terms.base import Term


class FeatureMatching(Term):
    """||E f(real) - E f(fake)||^2 with f the activations before D's last layer (Salimans et al. 2016, sec. 3.1).

    The means are over the joint batch of all devices.
    """

    players = ("g",)
    reads_features = True

    def __call__(self, step: Step) -> Tensor:
        real, fake = at_least_float32(step.real_features), at_least_float32(step.fake_features)
        return joint_mean(real.mean(0).detach() - fake.mean(0)).square().sum()
