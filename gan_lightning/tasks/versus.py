"""The shared half of every two-player task: one D scores reals and fakes."""

from collections.abc import Collection
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from gan_lightning.double_backward import TwiceDifferentiable
from gan_lightning.losses.objective import Objective, due
from gan_lightning.tasks.base import Batch, Clock, Step, Task
from gan_lightning.terms.base import Term


class Versus(Task):
    """One D judging one G; a subclass only says how fakes are made and what both are conditioned on."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, objective: Objective):
        super().__init__()
        self.g, self.d, self.objective = generator, discriminator, objective
        self.n_critic = objective.n_critic
        self.last_logits: tuple[Tensor, Tensor] | None = None  # of D's last step: reals', fakes'; for whoever watches

    def cond(self, batch: Batch) -> Tensor | None:
        """What D (and G) are told besides the image."""
        return None

    def d_loss(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        terms = due(self.objective.d_terms, clock).values()
        real = batch["real"].detach()
        with torch.no_grad():
            fake = self.generate(batch, self.g).detach()  # a leaf of this step's own, as `real` is
        wanted = {name for term in terms for name in term.reads_gradient_at}
        if not self._logits_serve_penalties(real):
            wanted = set()
        real, fake = real.requires_grad_("real" in wanted), fake.requires_grad_("fake" in wanted)
        with TwiceDifferentiable() if wanted else nullcontext():
            step = self._step(self.d, terms, batch, real, fake, clock, score_real=True)
        self.last_logits = step.real_logits.detach(), step.fake_logits.detach()
        return self.objective.d_loss(step)

    def g_loss(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        terms = due(self.objective.g_terms, clock).values()
        fake = self.generate(batch, self.g)
        relativistic = self.objective.adversarial.uses_real_in_g
        return self.objective.g_loss(self._step(self.g, terms, batch, batch["real"], fake, clock, relativistic))

    def after_d_step(self) -> None:
        self.objective.constrain_d(self.d)

    def critic(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """D's logits for `x`, uncompiled: `forward` is what a `compile()` in place leaves alone."""
        return self.d.forward(x, cond)

    def _step(self, network: nn.Module, terms: Collection[Term], batch: Batch, real: Tensor, fake: Tensor,
              clock: Clock, score_real: bool) -> Step:
        cond = self.cond(batch)
        features = any(term.reads_features for term in terms)
        real_logits = real_features = fake_features = None
        if features:
            fake_logits, fake_features = self.d(fake, cond, return_features=True)
            real_logits, real_features = self.d(real, cond, return_features=True)
        else:
            fake_logits = self.d(fake, cond)
            real_logits = self.d(real, cond) if score_real else None
        return Step(self.critic, network, real, fake, real_logits, fake_logits, cond, clock, batch,
                    real_features, fake_features)

    def _logits_serve_penalties(self, real: Tensor) -> bool:
        # A penalty may differentiate the logits of this very step if they are float32 and differentiable twice.
        plain = not torch.is_autocast_enabled(real.device.type) and self.d._compiled_call_impl is None
        return plain and real.dtype in (torch.float32, torch.float64)
