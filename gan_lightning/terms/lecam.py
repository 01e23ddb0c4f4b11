"""LeCam regularisation."""

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_mean
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step
from gan_lightning.terms.base import Term, Weight


class LeCam(Term, nn.Module):
    """E (D(real) - a_F)^2 + E (D(fake) - a_R)^2 with a_R, a_F running means of D's logits of reals and of fakes (Tseng
    et al. 2021, arXiv:2104.03310, eq. 4 and 5): D's scores are anchored to each other, for small data sets. One-sided:
    E relu(D(real) - a_F)^2 + E relu(a_R - D(fake))^2, as in the authors' two programs, of which their numbers are. It
    differs for reals that D takes to be worse than the average fake, and fakes better than the average real.

    The running means are over the joint batch of all devices. They begin as plain means, so that the first scores do
    not weigh for hundreds of steps, and run from the first step on even if the term starts later.

    Args:
        decay: what the running means keep of themselves in a step, in [0, 1).
        from_kimg: no weight before that many thousand reals.
        one_sided: only scores on their own side of the others' mean are drawn to it.
    """

    players = ("d",)

    def __init__(self, weight: Weight = 0.3, every: int = 1, decay: float = 0.99, from_kimg: float = 0.0,
                 one_sided: bool = False):
        nn.Module.__init__(self)
        super().__init__(weight, every)
        if not 0 <= decay < 1:
            raise ConfigError(f"loss.d_terms.lecam.decay={decay}: must be in [0, 1)")
        self.decay, self.from_kimg, self.one_sided = decay, from_kimg, one_sided
        self.register_buffer("means", torch.zeros(2))  # a_R, a_F
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))  # equal on all devices

    def strength(self, step: Step) -> float:
        return super().strength(step) if step.clock.nimg >= self.from_kimg * 1000 else 0.0

    def __call__(self, step: Step) -> Tensor:
        real, fake = at_least_float32(step.real_logits), at_least_float32(step.fake_logits)
        a_real, a_fake = self._updated(real, fake)
        above, below = real - a_fake, a_real - fake
        if self.one_sided:
            above, below = above.relu(), below.relu()
        return above.square().mean() + below.square().mean()

    @torch.no_grad()
    def _updated(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        now = joint_mean(torch.stack([real.mean(), fake.mean()]))
        now = torch.where(now.isfinite(), now, self.means.to(now.dtype))  # a step that overflows is skipped, not kept
        self.num_batches_tracked += 1
        share = (1 / self.num_batches_tracked.to(self.means.dtype)).clamp(min=1 - self.decay)
        self.means.copy_(torch.lerp(self.means, now.to(self.means.dtype), share))
        a_real, a_fake = self.means.to(real.dtype, copy=True)
        return a_real, a_fake
