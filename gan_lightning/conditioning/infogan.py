"""InfoGAN: D finds the codes again that G was given (Chen et al. 2016, arXiv:1606.03657)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.conditioning.base import Head, class_logits
from gan_lightning.conditioning.codes import Codes
from gan_lightning.tasks.base import Step


class CodeReader(Head):
    """Q(code | image) on D's features: -log Q of the codes of fakes, an upper bound of which mutual information is the
    lower (ibid., eq. 5). Both players minimise it: D's share trains Q, and G's makes images tell their codes.

    Categorical codes have a softmax; continuous ones a normal distribution of variance 1 around a mean. That is wide
    for a code in [-1, 1]: to know one saves 1/6 nat, where to know a class of ten saves 2.3. So a weight below 1 leaves
    next to nothing to learn it for, though the paper speaks of smaller ones for continuous codes (sec. 6).

    Args:
        categorical, continuous: as in `task.codes`.
        hidden: width of the layer between.
        continuous_weight: of the continuous codes' share; 1 is the bound itself.
    """

    def __init__(self, num_features: int, categorical: Sequence[int], continuous: int, hidden: int = 128,
                 continuous_weight: float = 1.0):
        super().__init__()
        self.codes, self.continuous_weight = Codes(categorical, continuous), continuous_weight
        self.read = nn.Sequential(nn.Linear(num_features, hidden), nn.LeakyReLU(0.1),
                                  nn.Linear(hidden, self.codes.size))

    def d_loss(self, step: Step) -> Tensor:
        return self._surprise(step)

    def g_loss(self, step: Step) -> Tensor:
        return self._surprise(step)

    def _surprise(self, step: Step) -> Tensor:
        codes, z = self.codes, step.z.detach()
        *classes, values = class_logits(self.read, step.fake_features).split([*codes.categorical, codes.continuous], 1)
        loss = sum(F.cross_entropy(logits, value) for logits, value in zip(classes, codes.classes(z), strict=True))
        if codes.continuous:  # up to a constant, - log of the normal density
            distance = (values - codes.values(z)).square().sum(1).mean() / 2
            loss = loss + self.continuous_weight * distance
        return loss
