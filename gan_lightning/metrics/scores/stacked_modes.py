"""How many of the 1,000 classes of stacked digits the generator finds."""

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.base import Extractor
from gan_lightning.metrics.extractors.stacked_classifier import StackedClassifier
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.scores.modes import kl_to_uniform
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.stacked_counts import StackedCounts


class StackedModes(Score):
    """Distinct triples of digits among n samples, and KL(shares of the triples || uniform) in nats (Metz et al. 2017,
    arXiv:1611.02163, sec. 3.3.1; with n = 26,000: Srivastava et al. 2017, arXiv:1705.07761, sec. 4.2).

    A classifier of single digits reads each channel. From n samples of a perfect model that it reads perfectly the
    expected divergence is about 999 / (2 n), which is 0.0192 for 26,000; the largest there is, of one triple alone, is
    ln 1000 = 6.9078. Misread channels make modes that are none, so beside the numbers stand those of as many real
    stacks, and the classifier's accuracy on digits it was not trained on is in the extractor's fingerprint. Values for
    other n do not compare: one with 25,600 samples is in the literature too.
    """

    reads = (StackedCounts,)
    values = {"stacked_modes": True, "stacked_kl": False}
    of_features = False

    def bind(self, data: ImageData, extractor: Extractor) -> None:
        if not isinstance(extractor, StackedClassifier):
            raise ConfigError("metrics.scores.stacked_modes needs the digit that each channel shows: choose "
                              "data=stacked metrics=stacked, or metrics.scores.stacked_modes=null")

        self._reads = extractor.reads

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        return _numbers(fake[StackedCounts].counts)

    def floor(self, half: Collected, other: Collected, n_fake: int) -> dict[str, float]:
        """The numbers of `n_fake` stacks of real digits that the classifier was not trained on, as it reads them.

        The digits of a stack are independent, so the triples read have the product of the shares of single digits.
        """
        single = np.asarray(self._reads) / sum(self._reads)
        triples = np.einsum("i,j,k->ijk", single, single, single).ravel()
        drawn = np.random.default_rng(0).multinomial(n_fake, triples / triples.sum())
        return _numbers(torch.from_numpy(drawn))


def _numbers(counts: Tensor) -> dict[str, float]:
    return {"stacked_modes": float((counts > 0).sum()), "stacked_kl": kl_to_uniform(counts)}
