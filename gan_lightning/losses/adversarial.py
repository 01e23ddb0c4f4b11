"""Adversarial losses: functions of the discriminator's logits alone, averaged to a scalar.

Logits have any shape (N, *): one score per sample, or one per patch. Nothing here ever takes a sigmoid:
`softplus` is the log-loss of a logit and stays exact at |logit| = 1e4. With C the logit and s the sigmoid,
`softplus(-C) = -log s(C)` and `softplus(C) = -log(1 - s(C))`.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_mean


class AdversarialLoss(Protocol):
    """What D and G minimise, given scores. `uses_real_in_g` asks for `real_logits` in G's step too.

    For whoever watches: `boundary` is the logit at which D is undecided, None if only differences of logits mean
    anything; `accurate_d_teaches` says that G learns from a D that is always right.
    """

    uses_real_in_g: bool
    boundary: float | None = None
    accurate_d_teaches: bool = False

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor: ...

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor: ...


class NonSaturating:
    """Log-loss, with G maximising log D(fake) (Goodfellow et al. 2014, sec. 3).

    Args:
        label_smoothing: reals are labelled 1 - label_smoothing, fakes stay 0: one-sided smoothing
            (Salimans et al. 2016, sec. 3.4). In [0, 0.5).
    """

    uses_real_in_g = False
    boundary = 0.0

    def __init__(self, label_smoothing: float = 0.0):
        if not 0 <= label_smoothing < 0.5:
            raise ConfigError(f"loss.adversarial.label_smoothing={label_smoothing}: must be in [0, 0.5)")
        self.label_smoothing = label_smoothing

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        loss = softplus(-real_logits).mean() + softplus(fake_logits).mean()
        if self.label_smoothing:  # cross-entropy against 1 - e is softplus(-C) + e C
            loss = loss + self.label_smoothing * real_logits.mean()
        return loss

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(-fake_logits).mean()


class Minimax(NonSaturating):
    """The zero-sum game, with G minimising log(1 - D(fake)) (Goodfellow et al. 2014, eq. 1).

    G's gradient vanishes where D is sure that a fake is fake; `NonSaturating` is the usual remedy.
    """

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -softplus(fake_logits).mean()


class LeastSquares:
    """Squared distance to the labels 1 (real) and 0 (fake) (Mao et al. 2017, eq. 9: a=0, b=c=1)."""

    uses_real_in_g = False
    boundary = 0.5

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return (fake_logits - 1).square().mean() / 2


class Hinge:
    """D is content with a margin of 1 on either side (Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17)."""

    uses_real_in_g = False
    boundary = 0.0

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class Wasserstein:
    """Difference of mean scores (Arjovsky et al. 2017, eq. 3). Needs a Lipschitz D: a penalty, or weight clipping."""

    uses_real_in_g = False
    accurate_d_teaches = True

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


class RelativisticAverage:
    """Is a real more realistic than the average fake, and the reverse (Jolicoeur-Martineau 2019, eq. 10 and 11).

    The average is over the joint batch of all devices, or else the loss would change with their number.
    """

    uses_real_in_g = True

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real_mean, fake_mean = joint_mean(torch.stack([real_logits.mean(), fake_logits.mean()]))
        return softplus(fake_mean - real_logits).mean() + softplus(fake_logits - real_mean).mean()

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return self.d_loss(fake_logits, real_logits)  # the same game with the roles swapped


class RelativisticPairing:
    """Is this real more realistic than this fake (Jolicoeur-Martineau 2019, eq. 4 and 5; Huang et al. 2024, eq. 2)."""

    uses_real_in_g = True

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(fake_logits - real_logits).mean()

    def g_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(real_logits - fake_logits).mean()
