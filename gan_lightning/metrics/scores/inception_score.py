"""Inception Score: are samples clearly of some class, and of all classes together?"""

import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.class_sums import ClassSums
from gan_lightning.metrics.statistics.collected import Collected


class InceptionScore(Score):
    """exp E KL(p(class | x) || p(class)), mean and standard deviation over ten splits (Salimans et al. 2016,
    arXiv:1606.03498, sec. 4); `is` on Inception's classes.

    Between 1 and the number of classes. Splits and values are those of torch-fidelity; the standard deviation is the
    spread of the ten (divided by 10, not 9), no error bar. It looks at fakes alone; the floor is that of reals.
    """

    reads = (ClassSums,)
    values = {"cs": True, "cs_std": None}
    needs_logits = True

    def check(self, fake: Plan, real: Plan) -> None:
        if fake.logits < 1:
            raise ConfigError("metrics.scores.inception_score: this extractor tells no classes apart; remove the score "
                              "by metrics.scores.inception_score=null or choose another metrics/extractor")
        if fake.n < ClassSums.splits:
            raise ConfigError(f"metrics.num_fake: {fake.n} fakes, but the Inception Score needs at least "
                              f"{ClassSums.splits}, one for each split")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        sums = fake[ClassSums]
        full = sums.n > 0  # a half of very few reals may leave a split empty
        n = sums.n[full]
        q = sums.p[full] / n[:, None]
        scores = (sums.p_log_p[full] / n - torch.xlogy(q, q).sum(1)).exp()
        return {"cs": float(scores.mean()), "cs_std": float(scores.std(correction=0))}
