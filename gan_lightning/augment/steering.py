"""A probability that follows how sure D is of the reals it trains on."""

from collections.abc import Callable

import torch
from torch import Tensor

from gan_lightning.augment.base import Augment
from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_sum
from gan_lightning.schedules import at
from gan_lightning.tasks.base import Task


class Steered(Augment):
    """An augmentation with a probability `p`, which rises while D is surer of the reals than `target`, else falls.

    How sure it is, is r_t = E[sign(D(real) - b)] over `every` steps of D and all devices, b being the logit at which D
    is undecided (Karras et al. 2020, arXiv:2006.06676, sec. 3): 0 if D guesses, 1 if it has learnt the reals by heart.

    Args:
        p: at the start.
        target: the r_t aimed at.
        every: steps of D between changes of p.
        kimg: the thousands of reals that p takes from 0 to 1.
        schedule: p itself, a number or a schedule (`gan_lightning.schedules`), which is then not steered.
        relativistic: r_t is E[sign(D(real) - D(fake))] over pairs. For losses of score differences (rpgan, ragan,
            wgan), for which a logit's own sign means nothing; null asks the loss.
    """

    def __init__(self, p: float = 0.0, target: float = 0.6, every: int = 4, kimg: float = 500.0,
                 schedule: float | Callable[[int], float] | None = None, relativistic: bool | None = None):
        super().__init__()
        _check(p, target, every, kimg)
        self.target, self.every, self.kimg = target, every, kimg
        self.schedule, self.relativistic = schedule, relativistic
        self.boundary = 0.0  # the logit at which D is undecided
        self._round = self._seen = 0  # reals that D had seen when its round began, and has seen now
        start = p if schedule is None else self._scheduled(0)
        if not 0 <= start <= 1:
            raise ConfigError(f"augment.schedule={schedule}: must be from 0 to 1")
        self.register_buffer("p", torch.tensor(start, dtype=torch.float32))
        self.register_buffer("signs", torch.zeros(()))  # their sum and number since p changed, this device's share
        self.register_buffer("logits", torch.zeros(()))

    def bind(self, task: Task) -> None:
        boundary = getattr(task.objective.adversarial, "boundary", None)
        self.boundary = boundary or 0.0
        if self.relativistic is None:
            self.relativistic = boundary is None

    def readings(self) -> dict[str, Tensor]:
        return {"p": self.p}

    def set_nimg(self, nimg: int) -> None:
        if nimg != self._round:
            self._round = self._seen = nimg
        if self.schedule is not None:
            self.p.fill_(self._scheduled(nimg))

    @torch.no_grad()
    def observe(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        if self.schedule is None:
            sure = real_logits - fake_logits if self.relativistic else real_logits - self.boundary
            self.signs += sure.sign().nan_to_num(0.0).sum()
            self.logits += sure.numel()

    @torch.no_grad()
    def adapt(self, images: int) -> None:
        # Counted in images, which the clock knows, also after a resume; and without asking the device.
        before, self._seen = self._seen, self._seen + images
        period = self.every * images
        if self.schedule is not None or not images or self._seen // period == before // period:
            return
        signs, logits = joint_sum(torch.stack([self.signs, self.logits]))
        direction = (signs - self.target * logits).sign()
        self.p.add_(direction * (period / (1000 * self.kimg))).clamp_(0, 1)
        self.signs.zero_()
        self.logits.zero_()

    def _scheduled(self, nimg: int) -> float:
        return float(at(self.schedule, nimg))


def _check(p: float, target: float, every: int, kimg: float) -> None:
    if not 0 <= p <= 1:
        raise ConfigError(f"augment.p={p}: must be from 0 to 1")
    if not -1 < target < 1:
        raise ConfigError(f"augment.target={target}: must be between -1 and 1, as it is a mean of signs")
    if every < 1:
        raise ConfigError(f"augment.every={every}: must be at least 1")
    if kimg <= 0:
        raise ConfigError(f"augment.kimg={kimg}: must be above 0")
