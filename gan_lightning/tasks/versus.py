"""The shared half of every two-player task: one D scores reals and fakes."""

from collections.abc import Collection
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from gan_lightning.augment.base import Augment, augmented
from gan_lightning.conditioning.base import beneath_head
from gan_lightning.double_backward import TwiceDifferentiable
from gan_lightning.losses.objective import Objective, due
from gan_lightning.tasks.base import Batch, Clock, Step, Task
from gan_lightning.terms.base import Term


class Versus(Task):
    """One D judging one G; a subclass only says how fakes are made and what both are conditioned on.

    Args:
        augment: what is done to images before D sees them.

    A part (network, augmentation, term) that changes while training goes on has a method `set_nimg(nimg)`, which is
    called before each step. A discriminator that is not yet shown whole images has `prepare_real(real)`.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, objective: Objective,
                 augment: Augment | None = None):
        super().__init__()
        self.g, self.d, self.objective, self.augment = generator, discriminator, objective, augment
        self.n_critic = objective.n_critic
        self.last_logits: tuple[Tensor, Tensor] | None = None  # of D's last step: reals', fakes'; for whoever watches
        self._images = 0  # of D's last step
        terms = {f"d_{name}": term for name, term in objective.d_terms.items()}
        terms |= {f"g_{name}": term for name, term in objective.g_terms.items()}
        for part in (*terms.values(), *([augment] if augment is not None else [])):
            part.bind(self)
        self.terms = nn.ModuleDict({name: term for name, term in terms.items() if isinstance(term, nn.Module)})
        self._changing = tuple(part for part in self.modules() if hasattr(part, "set_nimg"))

    def cond(self, batch: Batch) -> Tensor | None:
        """What D (and G) are told besides the image."""
        return None

    def prepare(self, batch: Batch) -> Batch:
        """The batch with what its fakes will be made of, such as latents `z`."""
        return batch

    @property
    def d_learns_through_fakes(self) -> bool:
        """Whether fakes depend on D's weights, G's given, in a way that D is to learn from."""
        return False

    def costs(self, batch: Batch) -> dict[str, Tensor]:
        """What a prepared batch costs both players besides the objective."""
        return {}

    def d_loss(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        self._at(clock)
        terms = due(self.objective.d_terms, clock).values()
        through = self.d_learns_through_fakes
        with nullcontext() if through else torch.no_grad():
            batch = self.prepare(batch)
            scored = self.generate(batch, self.g)
        fake = scored.detach()  # a leaf of this step's own, as `real` is: terms take the points as given
        with torch.no_grad():
            real = self._real(batch)
            if self.augment is not None:
                real = self.augment.reals(real, fake).detach()
        wanted = {name for term in terms for name in term.reads_gradient_at}
        if not self._logits_serve_penalties(real):
            wanted = set()
        real, fake = real.requires_grad_("real" in wanted), fake.requires_grad_("fake" in wanted and not through)
        with TwiceDifferentiable() if wanted else nullcontext():
            step = self._step(self.d, terms, batch, real, scored if through else fake, clock, score_real=True)
        step = step._replace(fake=fake)
        self.last_logits = step.real_logits.detach(), step.fake_logits.detach()
        self._images = clock.images
        if self.augment is not None:
            self.augment.observe(*self.last_logits)
        return self.objective.d_loss(step) | self.costs(batch)

    def g_loss(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        self._at(clock)
        terms = due(self.objective.g_terms, clock).values()
        batch = self.prepare(batch)
        fake = self.generate(batch, self.g)
        relativistic = self.objective.adversarial.uses_real_in_g
        step = self._step(self.g, terms, batch, self._real(batch), fake, clock, relativistic)
        return self.objective.g_loss(step) | self.costs(batch)

    def after_d_step(self) -> None:
        self.objective.constrain_d(self.d)
        if self.augment is not None:
            self.augment.adapt(self._images)

    def readings(self) -> dict[str, Tensor]:
        readings = {} if self.augment is None else self.augment.readings()
        return {f"augment/{name}": value for name, value in readings.items()}

    def critic(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """D's logits for `x` after augmentation, uncompiled: `forward` is what a `compile()` in place leaves alone."""
        return self.d.forward(self._augmented(x), cond)

    def _at(self, clock: Clock) -> None:
        for part in self._changing:
            part.set_nimg(clock.nimg)

    def _real(self, batch: Batch) -> Tensor:
        real = batch["real"].detach()
        d = beneath_head(self.d)
        return d.prepare_real(real) if hasattr(d, "prepare_real") else real

    def _augmented(self, x: Tensor) -> Tensor:
        return augmented(self.augment, x)

    def _step(self, network: nn.Module, terms: Collection[Term], batch: Batch, real: Tensor, fake: Tensor,
              clock: Clock, score_real: bool) -> Step:
        cond = self.cond(batch)
        real_logits = real_features = fake_features = None
        if any(term.reads_features for term in terms):
            fake_logits, fake_features = self.d(self._augmented(fake), cond, return_features=True)
            real_logits, real_features = self.d(self._augmented(real), cond, return_features=True)
        else:
            fake_logits = self.d(self._augmented(fake), cond)
            real_logits = self.d(self._augmented(real), cond) if score_real else None
        return Step(self.critic, network, real, fake, real_logits, fake_logits, cond, clock, batch, real_features,
                    fake_features, getattr(self.d, "head", None), batch.get("z"), self.fakes)

    def fakes(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """G's images for these latents and labels."""
        raise NotImplementedError

    def _logits_serve_penalties(self, real: Tensor) -> bool:
        # A penalty may differentiate the logits of this very step if they are float32 and differentiable twice.
        plain = not torch.is_autocast_enabled(real.device.type) and self.d._compiled_call_impl is None
        return plain and real.dtype in (torch.float32, torch.float64)
