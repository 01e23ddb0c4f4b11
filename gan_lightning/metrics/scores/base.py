"""A score: a few numbers about a set of fakes, mostly in comparison with reals."""

from typing import Any, ClassVar

import numpy as np

from gan_lightning.data.base import ImageData
from gan_lightning.metrics.extractors.base import Extractor
from gan_lightning.metrics.statistics.base import Plan, Statistic
from gan_lightning.metrics.statistics.collected import Collected


class Score:
    """Computes numbers from statistics of the two sets.

    Class attributes that a subclass sets:
        reads: the statistics it looks at, of fakes and of reals.
        reads_of_reals: more of them, of reals alone.
        values: what `compute` returns, the principal number first: name -> whether higher is better (None: neither).
        of_features: whether the numbers depend on the extractor; their names then end in the extractor's.
        needs_logits: whether the extractor must tell classes apart.

    Settings are constructor arguments, kept as attributes of the same name: numbers, strings, lists of them.
    """

    reads: ClassVar[tuple[type[Statistic], ...]] = ()
    reads_of_reals: ClassVar[tuple[type[Statistic], ...]] = ()
    values: ClassVar[dict[str, bool | None]] = {}
    of_features: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def bind(self, data: ImageData, extractor: Extractor) -> None:
        """Learns what it must know of the data or the extractor. Called before `check`, once the extractor is ready."""

    def check(self, fake: Plan, real: Plan) -> None:
        """Raises ConfigError if sets of this size and kind cannot be scored. Called before any work is done."""

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        """The numbers in `values`. Called on one process."""
        raise NotImplementedError

    def floor(self, half: Collected, other: Collected, n_fake: int) -> dict[str, float]:
        """What the numbers come to for reals in place of fakes: one half of the reals against the other.

        For a distance, the floor that no generator can be told from reals below; for a quality, the ceiling.
        `n_fake`: the number of fakes, for scores that depend on how many there are.
        """
        return self.compute(half, other)

    def pictures(self, fake: Collected, real: Collected) -> dict[str, np.ndarray]:
        """Pictures that explain the numbers: name -> uint8 (height, width, 3)."""
        return {}

    def settings(self) -> dict[str, Any]:
        """All that decides the numbers, besides the sets and the extractor."""
        public = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {"score": type(self).__name__, "version": self.version} | public
