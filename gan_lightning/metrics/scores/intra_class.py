"""Fréchet distance within each class."""

import math

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.scores.frechet import Gaussian, check_counts, distance_to, gaussian
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.moments import ClassMoments

LARGEST = 4e9
REMOVE = "remove the score by metrics.scores.intra_class=null"


class IntraClass(Score):
    """Mean over classes of the Fréchet distance of fakes to reals of that class (Miyato and Koyama 2018,
    arXiv:1802.05637, sec. 5): sees samples that are good, but not of the class that was asked for."""

    reads = (ClassMoments,)
    values = {"intra_fd": False}

    def check(self, fake: Plan, real: Plan) -> None:
        if not fake.classes or fake.classes != real.classes:
            raise ConfigError(f"metrics.scores.intra_class: fakes have {fake.classes or 'no'} classes and reals "
                              f"{real.classes or 'none'}; both need labels of the same classes: choose data with "
                              f"labels and a conditional model, or {REMOVE}")
        size = 8 * real.classes * real.dim**2
        if size > LARGEST:
            raise ConfigError(f"metrics.scores.intra_class: covariances of {real.classes} classes in {real.dim} "
                              f"features take {size / 1e9:.1f} GB a set, above {LARGEST / 1e9:.0f}: choose an "
                              f"extractor with fewer features, or {REMOVE}")
        check_counts(fake, real, 2 * real.classes, f"intra_class with {real.classes} classes")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        for collected, option in ((fake, "fakes: raise metrics.num_fake"), (real, "reals: raise metrics.num_real")):
            n = collected[ClassMoments].n
            if int(n.min()) < 2:
                raise UserError(f"intra_class needs at least 2 images of each class, but class {int(n.argmin())} has "
                                f"{int(n.min())} {option}, or {REMOVE}")
        distances = [_distance(fake, real, number) for number in range(real.plan.classes)]
        return {"intra_fd": sum(distances) / len(distances)}

    def floor(self, half: Collected, other: Collected, n_fake: int) -> dict[str, float]:
        """Between halves, scaled in each class as that of FrechetDistance, with fakes divided as the reals are.

        Classes with fewer than 2 images in a half are left out.
        """
        values = []
        n1, n2 = half[ClassMoments].n.tolist(), other[ClassMoments].n.tolist()
        share = n_fake / (sum(n1) + sum(n2))
        for number, (a, b) in enumerate(zip(n1, n2, strict=True)):
            if min(a, b) >= 2:
                scale = (1 / share + 1) / (a + b) / (1 / a + 1 / b)
                values.append(_distance(half, other, number) * scale)
        return {"intra_fd": sum(values) / len(values) if values else math.nan}


def _distance(fake: Collected, real: Collected, number: int) -> float:
    fakes = fake[ClassMoments]
    return distance_to(*fakes.mean_cov(number), int(fakes.n[number]), _real_gaussian(real, number))


def _real_gaussian(real: Collected, number: int) -> Gaussian:
    reals = real[ClassMoments]
    return real.derive(("gaussian", number), lambda: gaussian(*reals.mean_cov(number), int(reals.n[number])))
