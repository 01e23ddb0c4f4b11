"""All that is kept of one set of images."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from gan_lightning.metrics.statistics.base import Features, Plan, Statistic

S = TypeVar("S", bound=Statistic)


class Collected:
    """One statistic of each kind that somebody reads: `collected[Moments]` is the set's Moments.

    `images`, if given, hands out images of the set again: `images(indices)` -> uint8 (n, C, H, W).
    """

    def __init__(self, plan: Plan, kinds: Iterable[type[Statistic]] = (), device: torch.device | str = "cpu",
                 images: Callable[[torch.Tensor], torch.Tensor] | None = None):
        self.plan, self.images = plan, images
        self.statistics = {kind: kind(plan).to(device) for kind in dict.fromkeys(kinds)}
        self._derived: dict[Hashable, Any] = {}

    def __getitem__(self, kind: type[S]) -> S:
        return self.statistics[kind]

    @property
    def device(self) -> torch.device:
        """Where the sums are, and where arithmetic on them is done."""
        return next(iter(self.statistics.values())).device

    def update(self, features: Features) -> None:
        for statistic in self.statistics.values():
            statistic.update(features)

    def reduce(self) -> None:
        """Adds up over all processes: every one has the whole afterwards."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            for statistic in self.statistics.values():
                for state in statistic.sums().values():
                    dist.all_reduce(state)

    def derive(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """What `compute()` gives, remembered under `key`: for what is costly and asked for at every evaluation."""
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]

    def __add__(self, other: "Collected") -> "Collected":
        total = Collected(self.plan, images=self.images)
        total.statistics = {kind: mine + other[kind] for kind, mine in self.statistics.items()}
        return total
