"""Penalties on the gradient of D's logits with respect to D's input, per sample."""

from math import prod
from typing import Literal

import torch
from torch import Tensor

from gan_lightning.double_backward import TwiceDifferentiable, input_gradient
from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_cat, joint_mean
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step
from gan_lightning.terms.base import Term, Weight


def squared_gradient_norm(step: Step, x: Tensor, logits: Tensor | None = None) -> Tensor:
    """||d D(x) / d x||^2 of each sample, shape (N,), differentiable by D's weights.

    Taken in float32 or better, outside autocast, on the uncompiled network: half precision underflows in the second
    backward pass, and compiled graphs have none. `logits` computed from `x` already spare a pass through D
    where they are fit for it, which is where the task made `x` a leaf that requires gradients.
    """
    with torch.autocast(x.device.type, enabled=False):
        if logits is None or not x.requires_grad:
            x = at_least_float32(x.detach()).requires_grad_()
            with TwiceDifferentiable():
                logits = step.critic(x, step.cond)
        score = logits.reshape(len(logits), -1).mean(1)    # logits of a sample's patches are one score
        return input_gradient(score, x).square().flatten(1).sum(1)


def gradient_norm(step: Step, x: Tensor) -> Tensor:
    """||d D(x) / d x|| of each sample, shape (N,); a zero gradient has a finite derivative."""
    return (squared_gradient_norm(step, x) + 1e-12).sqrt()


def interpolates(step: Step) -> Tensor:
    """Points drawn evenly between each real and its fake, (N, *), without gradients."""
    real, fake = at_least_float32(step.real.detach()), at_least_float32(step.fake.detach())
    mix = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    return torch.lerp(real, fake, mix)


class _GradientTerm(Term):
    players = ("d",)
    per_sample = True
    allows_sharding = False


class GradientPenalty(_GradientTerm):
    """(||grad D|| - 1)^2 at points drawn evenly between reals and fakes (Gulrajani et al. 2017, eq. 3).

    Args:
        one_sided: only norms above 1 are penalised (ibid., sec. 5; Petzka et al. 2018).
    """

    def __init__(self, weight: Weight = 10.0, every: int = 1, one_sided: bool = False):
        super().__init__(weight, every)
        self.one_sided = one_sided

    def __call__(self, step: Step) -> Tensor:
        excess = gradient_norm(step, interpolates(step)) - 1
        return (excess.relu() if self.one_sided else excess).square().mean()


class ZeroCenteredGP(_GradientTerm):
    """||grad D||^2 at points drawn evenly between reals and fakes (Thanh-Tung et al. 2019, arXiv:1902.03984, 0-GP),
    of D's logits, as in R1 and unlike there half of it."""

    def __init__(self, weight: Weight = 10.0, every: int = 1):
        super().__init__(weight, every)

    def __call__(self, step: Step) -> Tensor:
        return squared_gradient_norm(step, interpolates(step)).mean()


class WGANDiv(_GradientTerm):
    """||grad D||^p at points drawn evenly between reals and fakes (Wu et al. 2018, arXiv:1712.01026): `weight` is the
    paper's k.

    Args:
        power: the paper's p; at least 2, as the derivative of a smaller power is infinite where the gradient is zero.
    """

    def __init__(self, weight: Weight = 2.0, every: int = 1, power: float = 6.0):
        super().__init__(weight, every)
        if power < 2:
            raise ConfigError(f"loss.d_terms.wgan_div.power={power}: must be at least 2")
        self.power = power

    def __call__(self, step: Step) -> Tensor:
        return squared_gradient_norm(step, interpolates(step)).pow(self.power / 2).mean()


class MaxGP(_GradientTerm):
    """The largest ||grad D||^2 among points between the reals and fakes of the joint batch of all devices (Zhou et al.
    2019, Lipschitz GANs, arXiv:1902.05687, sec. 4: it bounds the Lipschitz constant, not its mean)."""

    def __init__(self, weight: Weight = 1.0, every: int = 1):
        super().__init__(weight, every)

    def __call__(self, step: Step) -> Tensor:
        return joint_cat(squared_gradient_norm(step, interpolates(step))).max()


class _HalfSquaredGradient(_GradientTerm):
    """`weight` is the papers' gamma. `auto` is 2e-4 times the pixels of an image over the images of a step, on all
    devices (Karras et al. 2020, ADA, arXiv:2006.06676, app. C)."""

    def __init__(self, weight: Weight | Literal["auto"] = 1.0, every: int = 1):
        if isinstance(weight, str) and weight != "auto":
            raise ConfigError(f"loss.d_terms.*.weight={weight}: {type(self).__name__} takes a number, a schedule or "
                              "auto")
        super().__init__(weight, every)

    def strength(self, step: Step) -> float:
        if self.weight != "auto":
            return super().strength(step)
        return 2e-4 * prod(step.real.shape[2:]) / (step.clock.images or len(step.real))


class R1(_HalfSquaredGradient):
    """||grad D||^2 / 2 on reals (Mescheder et al. 2018, eq. 9)."""

    reads_gradient_at = ("real",)

    def __call__(self, step: Step) -> Tensor:
        return squared_gradient_norm(step, step.real, step.real_logits).mean() / 2


class R2(_HalfSquaredGradient):
    """||grad D||^2 / 2 on fakes (Mescheder et al. 2018, eq. 10)."""

    reads_gradient_at = ("fake",)

    def __call__(self, step: Step) -> Tensor:
        return squared_gradient_norm(step, step.fake, step.fake_logits).mean() / 2


class DRAGAN(_GradientTerm):
    """(||grad D|| - 1)^2 around reals, at x + N(0, c I) (Kodali et al. 2017, arXiv:1705.07215, eq. 4 with k = 1).

    The paper leaves c open. Here sqrt(c) is a share of how far the data are spread, so that "around" means the same in
    any units: with a spread of 0.5, as images in [-1, 1] have about, it is 0.25.

    Args:
        std: of the noise, over that of all entries of the joint batch of reals.
    """

    def __init__(self, weight: Weight = 10.0, every: int = 1, std: float = 0.5):
        super().__init__(weight, every)
        self.std = std

    def __call__(self, step: Step) -> Tensor:
        real = at_least_float32(step.real.detach())
        noise = self.std * joint_spread(real) * torch.randn_like(real)
        return (gradient_norm(step, real + noise) - 1).square().mean()


@torch.no_grad()
def joint_spread(x: Tensor) -> Tensor:
    """The standard deviation of all entries of the joint batch of all devices, a scalar."""
    mean = x.mean()
    within, joint, square = joint_mean(torch.stack([(x - mean).square().mean(), mean, mean.square()]))
    return (within + (square - joint.square()).clamp(min=0)).sqrt()  # within devices, and between their means
