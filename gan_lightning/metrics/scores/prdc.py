"""Precision, recall, density and coverage: quality and variety apart."""

from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.scores.distances import balls_around, inside, nearest
from gan_lightning.metrics.scores.frechet import check_counts
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.reservoir import Reservoir


class PRDC(Score):
    """Shares of images within the balls around others that reach to their k-th nearest neighbour.

    precision: fakes within a ball of a real; recall: reals within a ball of a fake (Kynkäänniemi et al. 2019,
    arXiv:1904.06991, eq. 1 and 2; the surface belongs to the ball). density: balls of reals that a fake is in, over k,
    may exceed 1; coverage: reals with a fake in their ball (Naeem et al. 2020, arXiv:2002.09797, eq. 3 and 4; the
    surface does not). All over the features that are kept, 10,000 of a set at most. They change with the numbers of
    images, so the floor, which is taken between halves, is a rough one.

    Args:
        k: of precision and recall.
        k_density: of density and coverage.
    """

    reads = (Reservoir,)
    values = {"precision": True, "recall": True, "density": True, "coverage": True}

    def __init__(self, k: int = 3, k_density: int = 5):
        for name, value in (("k", k), ("k_density", k_density)):
            if value < 1:
                raise ConfigError(f"metrics.scores.prdc.{name}={value}: must be at least 1")
        self.k, self.k_density = k, k_density

    def check(self, fake: Plan, real: Plan) -> None:
        k = max(self.k, self.k_density)
        check_counts(fake, real, k + 1, f"prdc with {k} neighbours")
        if k >= Reservoir.limit // 2:
            raise ConfigError(f"metrics.scores.prdc: k and k_density must be below {Reservoir.limit // 2}, got {k}")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        fakes, reals = fake[Reservoir].features(), real[Reservoir].features()
        k = max(self.k, self.k_density)
        real_radii = real.derive(("radii", k), lambda: nearest(reals, reals, k, exclude_self=True)[0])
        fake_radii = nearest(fakes, fakes, self.k, exclude_self=True)[0]
        radii, wide = real_radii[:, self.k - 1], real_radii[:, self.k_density - 1]
        return self._shares(fakes, reals, fake_radii[:, self.k - 1], radii, wide)

    def _shares(self, fakes: Tensor, reals: Tensor, fake_radii: Tensor, radii: Tensor,
                wide: Tensor) -> dict[str, float]:
        closed, opened = balls_around(fakes, reals, (radii, wide), strict=(False, True))
        (of_fakes,) = balls_around(reals, fakes, (fake_radii,), strict=(False,))
        covered = inside(nearest(reals, fakes, 1)[0][:, 0], wide, strict=True)
        return {"precision": float((closed > 0).double().mean()), "recall": float((of_fakes > 0).double().mean()),
                "density": float(opened.double().mean() / self.k_density), "coverage": float(covered.double().mean())}
