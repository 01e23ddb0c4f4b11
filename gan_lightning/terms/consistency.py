"""Consistency: what changes an image or its latent a little should change D's score a little."""

import torch
from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step
from gan_lightning.terms.base import Term, Weight


class Consistency(Term):
    """E (D(x) - D(T(x)))^2 of reals, and with `fakes` of fakes too, in D's loss: CR (Zhang et al. 2020,
    arXiv:1910.12027, eq. 3) and balanced CR (Zhao et al. 2021, arXiv:2002.04724, alg. 1).

    T mirrors half of the images and shifts each by up to `shift` of its size in both directions, anew in each step.
    With an augmentation of its own choice (`augment=`), D sees augmented images on both sides.

    Args:
        fakes: also of fakes, at the same weight.
        shift: the papers' 4 pixels of 32 are 0.125. What is shifted in is the image's reflection.
    """

    players = ("d",)
    works_on_points = False
    allows_sharding = False  # D is called outside of its hooks, which gather its weights

    def __init__(self, weight: Weight = 10.0, every: int = 1, fakes: bool = False, shift: float = 0.125):
        super().__init__(weight, every)
        if not 0 <= shift < 1:
            raise ConfigError(f"loss.d_terms: Consistency.shift={shift}: must be in [0, 1), a share of the size")
        self.fakes, self.shift = fakes, shift

    def __call__(self, step: Step) -> Tensor:
        loss = self._of(step, step.real, step.real_logits)
        return loss + self._of(step, step.fake, step.fake_logits) if self.fakes else loss

    def _of(self, step: Step, x: Tensor, logits: Tensor) -> Tensor:
        changed = mirrored_and_shifted(x.detach(), self.shift)
        return squared_difference(logits, step.critic(changed, step.cond))


class LatentConsistencyD(Term):
    """E (D(G(z)) - D(G(z + dz)))^2, dz ~ N(0, std^2): the critic's half of latent consistency (Zhao et al. 2021,
    arXiv:2002.04724, alg. 2)."""

    players = ("d",)
    allows_sharding = False  # as Consistency

    def __init__(self, weight: Weight = 5.0, every: int = 1, std: float = 0.03):
        super().__init__(weight, every)
        self.std = std

    def __call__(self, step: Step) -> Tensor:
        with torch.no_grad():
            fake = step.generate(_moved(step, self.std), step.cond)
        return squared_difference(step.fake_logits, step.critic(fake, step.cond))


class LatentConsistencyG(Term):
    """-E ||G(z) - G(z + dz)||^2, dz ~ N(0, std^2), averaged over pixels: G's half of latent consistency (Zhao et al.
    2021, arXiv:2002.04724, alg. 2), which keeps near latents apart."""

    players = ("g",)

    def __init__(self, weight: Weight = 0.5, every: int = 1, std: float = 0.03):
        super().__init__(weight, every)
        self.std = std

    def __call__(self, step: Step) -> Tensor:
        other = step.generate(_moved(step, self.std), step.cond)
        return -(at_least_float32(step.fake) - at_least_float32(other)).square().mean()


def _moved(step: Step, std: float) -> Tensor:
    if step.z is None or step.generate is None:
        raise ConfigError("latent consistency needs a task that draws latents; leave term=[latent_consistency_d] and "
                          "term=[latent_consistency_g] out")
    return step.z + std * torch.randn_like(step.z)


def squared_difference(logits: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of the samples' scores; a sample's patches are averaged, as they move with the image."""
    return (at_least_float32(logits) - at_least_float32(others)).flatten(1).mean(1).square().mean()


def mirrored_and_shifted(x: Tensor, shift: float) -> Tensor:
    """Each of the images (N, C, H, W) by itself: mirrored or not, and moved by whole pixels, at most `shift` of
    H and W."""
    random = torch.rand(len(x), 3, device=x.device)
    rows = _places(x.shape[2], shift, random[:, 0])
    columns = _places(x.shape[3], shift, random[:, 1])
    columns = torch.where(random[:, 2, None] < 0.5, columns.flip(1), columns)
    images, channels = (torch.arange(n, device=x.device) for n in x.shape[:2])
    return x[images[:, None, None, None], channels[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def _places(size: int, shift: float, random: Tensor) -> Tensor:
    """Where each pixel of a moved line comes from, (N, size)."""
    most = round(shift * size)
    moves = (random * (2 * most + 1)).long().clamp(max=2 * most) - most  # rounding may reach one more
    places = (torch.arange(size, device=random.device) + moves[:, None]).abs()
    return size - 1 - (size - 1 - places).abs()
