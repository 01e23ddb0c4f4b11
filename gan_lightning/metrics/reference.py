"""What is known of the reals that fakes are compared with: two halves, which add up to the whole."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_lightning.metrics.cache import Cache, digest
from gan_lightning.metrics.collecting import ImageSet, collect
from gan_lightning.metrics.extractors.base import Extract
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.statistics.base import Plan, Statistic
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.together import on_first, rank_and_world, together

HALVES = ("half", "other")


class Reference:
    """Statistics of the reals, made once and kept in the cache under all that decides them, the images' bytes included.

    After a find in the cache only the first process holds all sums: scores are computed there.

    Args:
        made_of: what the statistics depend on, besides their own definition; part of every fingerprint.
    """

    def __init__(self, plan: Plan, made_of: dict[str, Any], cache: Cache, device: torch.device,
                 images: Callable[[Tensor], Tensor]):
        self.plan, self.made_of, self.cache, self.device = plan, made_of, cache, device
        self.halves = [Collected(plan, (), device, images) for _ in HALVES]
        self.whole = Collected(plan, (), device, images)
        self._floors: dict[str, dict[str, float]] = {}

    def find(self, kinds: list[type[Statistic]]) -> list[type[Statistic]]:
        """Looks for statistics in the cache and returns those that are not there. All processes must call it."""
        found: dict[type[Statistic], Any] = {}

        def look() -> list[int]:
            for kind in kinds:
                found[kind] = self.cache.get(self._fields(kind))
            return [i for i, kind in enumerate(kinds) if found[kind] is None]

        missing = on_first(look)
        together(lambda: [self._adopt(kind, arrays) for kind, arrays in found.items() if arrays is not None])
        return [kinds[i] for i in missing]

    def make(self, kinds: list[type[Statistic]], reals: ImageSet, extract: Extract, block: int) -> None:
        """Passes over the reals for these statistics, and writes them to the cache. All processes must call it."""
        parts = [Collected(self.plan, kinds, self.device) for _ in HALVES]
        collect(reals, extract, parts, _in_other_half(self.plan.n), block)
        together(lambda: self._keep(kinds, parts) if rank_and_world()[0] == 0 else None)

    def _keep(self, kinds: list[type[Statistic]], parts: list[Collected]) -> None:
        for kind in kinds:
            arrays = {f"{name}.{state}": value.cpu().numpy() for name, part in zip(HALVES, parts, strict=True)
                      for state, value in part[kind].sums().items()}
            self.cache.put(self._fields(kind), arrays)
            self._adopt(kind, arrays)

    def floor(self, score: Score, n_fake: int) -> dict[str, float]:
        """What reals get in place of `n_fake` fakes; see `Score.floor`. On the first process."""
        reads = [(kind.__name__, kind.version) for kind in (*score.reads, *score.reads_of_reals)]
        fields = self.made_of | {"kind": "floor", "score": score.settings(), "n_fake": n_fake, "reads": reads}
        key = digest(fields)
        if key not in self._floors:
            arrays = self.cache.get(fields)
            if arrays is None:
                values = score.floor(*self.halves, n_fake)
                arrays = {name: np.float64(value) for name, value in values.items()}
                self.cache.put(fields, arrays)
            self._floors[key] = {name: float(value) for name, value in arrays.items()}
        return self._floors[key]

    def _fields(self, kind: type[Statistic]) -> dict[str, Any]:
        return self.made_of | {"kind": kind.__name__, "version": kind.version, "plan": list(self.plan)}

    def _adopt(self, kind: type[Statistic], arrays: dict[str, np.ndarray]) -> None:
        for name, half in zip(HALVES, self.halves, strict=True):
            statistic = kind(self.plan)
            statistic.load_sums({state: torch.from_numpy(arrays[f"{name}.{state}"]) for state in statistic.sums()})
            half.statistics[kind] = statistic.to(self.device)
        self.whole.statistics[kind] = self.halves[0][kind] + self.halves[1][kind]


def _in_other_half(n: int) -> Tensor:
    """0 or 1 for each of n images, by lot: neighbours in a file order may be alike."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)) % 2
