"""Are fakes copies of training images."""

import numpy as np
import torch
from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.scores.distances import nearest
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.reservoir import Reservoir
from gan_lightning.pictures import grid

ROWS, NEIGHBOURS = 10, 5
DUPLICATES = 8  # neighbours looked at for one that is not a duplicate


class TrainingFeatures(Reservoir):
    """Features of many more images than a Reservoir keeps: what was copied should be among them."""

    limit = 50_000


class Memorisation(Score):
    """How near fakes lie to training images, compared with how near reals lie to other reals.

    Training images are those of the split that is compared with: leave metrics.split as it is.

    Each fake's distance to its nearest training image is set against those of reals left out one at a time, which is
    how near an image that was not copied comes (the comparison of Meehan et al. 2020, arXiv:2004.05675, by quantiles).
    Reals of which the set holds duplicates are compared with their nearest image that differs.

    `memorised`: the share of fakes nearer to a training image than the nearest `quantile` of left-out reals are to
    another real: `quantile` itself for fakes that are like new reals, 1 for copies, 0 for fakes far from all data.
    `nn_ratio`: median distance of fakes over that of left-out reals: 0 for copies, 1 for new reals, more for bad fakes,
    so neither more nor less of it is better.

    Args:
        quantile: of the left-out reals' distances, the one that marks a copy.
        held_out: left-out reals that are looked at.
    """

    reads = (Reservoir,)
    reads_of_reals = (TrainingFeatures,)
    values = {"memorised": False, "nn_ratio": None}

    def __init__(self, quantile: float = 0.01, held_out: int = 2000):
        if not 0 < quantile < 1:
            raise ConfigError(f"metrics.scores.memorisation.quantile={quantile}: must be above 0 and below 1")
        if held_out < 1:
            raise ConfigError(f"metrics.scores.memorisation.held_out={held_out}: must be at least 1")
        self.quantile, self.held_out = quantile, held_out

    def check(self, fake: Plan, real: Plan) -> None:
        if real.n < 4:
            raise ConfigError(f"metrics.scores.memorisation needs at least 4 reals, got {real.n}: choose "
                              "metrics.scores.memorisation=null")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        distances = _nearest(fake, real)[0][:, 0]
        left_out = real.derive((Memorisation, self.held_out), lambda: self._left_out(real))
        copied = distances <= left_out.quantile(self.quantile)
        return {"memorised": copied.double().mean().item(),
                "nn_ratio": (distances.median() / left_out.median()).item()}

    def _left_out(self, real: Collected) -> Tensor:
        """Distance of each of some reals to its nearest other, (m,)."""
        points = real[TrainingFeatures].features()
        chosen = points[torch.linspace(0, len(points) - 1, min(self.held_out, len(points)), dtype=torch.float64).long()]
        distances, _ = nearest(chosen, points, min(DUPLICATES, len(points)))
        others = distances.masked_fill(distances == 0, torch.inf).min(1).values  # a real is at distance 0 from itself
        return torch.where(others.isfinite(), others, 0.0)

    def pictures(self, fake: Collected, real: Collected) -> dict[str, np.ndarray]:
        """The fakes nearest to a training image, most suspicious first, each with its neighbours to the right."""
        if fake.images is None or real.images is None:
            return {}
        distances, neighbours = _nearest(fake, real)
        suspects = distances[:, 0].argsort(stable=True)[:ROWS]
        left = fake.images(fake[Reservoir].numbers()[suspects])
        if left.ndim != 4:  # points
            return {}
        right = real.images(real[TrainingFeatures].numbers()[neighbours[suspects].flatten()])
        rows = torch.cat([left.cpu()[:, None], right.cpu().unflatten(0, neighbours[suspects].shape)], 1)
        return {"neighbours": grid(rows.flatten(0, 1), rows.shape[1])}


def _nearest(fake: Collected, real: Collected) -> tuple[Tensor, Tensor]:
    """Distances of fakes to their nearest training images, (n, k), and these images' rows among the features."""
    points = real[TrainingFeatures].features()
    return fake.derive((Memorisation, id(real)),
                       lambda: nearest(fake[Reservoir].features(), points, min(NEIGHBOURS, len(points))))
