"""Feature matching."""

import torch
from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_mean
from gan_lightning.precision import at_least_float32
from gan_lightning.randomness import mix
from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term, Weight


class FeatureMatching(Term):
    """||E f(real) - E f(fake)||^2 / F with f the F activations before D's last layer (Salimans et al. 2016,
    arXiv:1606.03498, sec. 3.1). The means are over the joint batch of all devices.

    The paper's squared norm is over F, because there it replaces G's adversarial loss, so that its scale plays no part
    under Adam, and here it is added to that loss: thousands of features summed would drown it, more in a wider D.
    """

    players = ("g",)
    reads_features = True

    def __call__(self, step: Step) -> Tensor:
        real, fake = at_least_float32(step.real_features), at_least_float32(step.fake_features)
        return joint_mean(real.mean(0).detach() - fake.mean(0)).square().mean()


class RandomFeatureMatching(FeatureMatching):
    """||E r(f(real)) - E r(f(fake))||^2 / n with r(f) = relu(f W / sqrt(F) + b), n random features of D's F features.

    Means of random features stand for the mean in the space of a kernel (Rahimi & Recht 2007; with ReLU an arc-cosine
    kernel, Cho & Saul 2009), so this compares distributions of features, where feature matching compares their means:
    an estimate of their squared maximum mean discrepancy, unbiased in W and b, which are N(0, 1) and drawn anew in each
    step, the same on all devices.

    Args:
        num_random: n.
    """

    def __init__(self, weight: Weight = 1.0, every: int = 1, num_random: int = 256):
        super().__init__(weight, every)
        if num_random < 1:
            raise ConfigError(f"loss.g_terms.random_feature_matching.num_random={num_random}: must be at least 1")
        self.num_random, self.seed = num_random, 0

    def bind(self, task: Task) -> None:
        self.seed = int(torch.randint(2**62, ()))  # the run's: networks are built after its seed, alike on all devices

    def __call__(self, step: Step) -> Tensor:
        real, fake = at_least_float32(step.real_features), at_least_float32(step.fake_features)
        generator = torch.Generator(fake.device).manual_seed(mix(self.seed, step.clock.step))
        drawn = torch.randn(fake.shape[1] + 1, self.num_random, generator=generator, device=fake.device,
                            dtype=fake.dtype)
        with torch.autocast(fake.device.type, enabled=False):
            real, fake = (torch.addmm(drawn[-1], x, drawn[:-1] / x.shape[1]**0.5).relu() for x in (real.detach(), fake))
        return joint_mean(real.mean(0) - fake.mean(0)).square().mean()
