"""Do fakes differ from each other as much as reals do."""

import torch
from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.scores.distances import nearest
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.reservoir import Reservoir


class Diversity(Score):
    """Distances among fakes over distances among equally many reals; more than 1 is not better, noise has that too.

    `diversity`: mean distance between two: 1 is as diverse as the reals, 0 all the same.
    `spacing`: median distance to the nearest other one: near 0 for a few images over and over, one per class perhaps,
    which can be as far from each other as reals are.

    Args:
        n: how many of each are compared.
    """

    reads = (Reservoir,)
    values = {"diversity": None, "spacing": None}

    def __init__(self, n: int = 2000):
        if n < 2:
            raise ConfigError(f"metrics.scores.diversity.n={n}: must be at least 2")
        self.n = n

    def check(self, fake: Plan, real: Plan) -> None:
        for what, n, least in (("fakes", fake.n, 2), ("reals", real.n, 4)):
            if n < least:
                raise ConfigError(f"metrics.scores.diversity needs at least {least} {what}, got {n}: choose "
                                  "metrics.scores.diversity=null")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        sets = [collected[Reservoir].features() for collected in (fake, real)]
        n = min(self.n, *map(len, sets))
        ours, reals = (_distances(x[torch.linspace(0, len(x) - 1, n, dtype=torch.float64).long()]) for x in sets)
        return {name: ours[name] / reals[name] if reals[name] else float("nan") for name in self.values}


def _distances(x: Tensor) -> dict[str, float]:
    """Of x (n, d): mean distance of all pairs, and median distance to the nearest other row."""
    centred = x.double() - x.mean(0, dtype=torch.float64)  # so that rows that are all equal are at distance 0
    total = torch.cdist(centred, centred).fill_diagonal_(0).sum()
    closest, _ = nearest(x, x, 1, exclude_self=True)
    return {"diversity": (total / (len(x) * (len(x) - 1))).item(), "spacing": closest.median().item()}
