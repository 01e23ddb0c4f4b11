"""What is kept of a set of images: sums, so that parts of a set, on any device, add up to the whole."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torchmetrics import Metric


class Plan(NamedTuple):
    """What is known of a set before its first image is seen.

    `n`: images. `dim`: numbers per image that the extractor gives. `logits`: classes that the extractor tells apart, 0
    if none. `classes`: labels that the images themselves have, 0 if none.
    """

    n: int
    dim: int
    logits: int = 0
    classes: int = 0


class Features(NamedTuple):
    """A batch, as the extractor saw it.

    `index`: int64 (b,), numbers of the images within their set, from 0 to n - 1; each comes once, in any order, on any
    device. `pool`: float (b, dim). `logits`: float (b, k) or None. `label`: int64 (b,) or None. `images`: uint8
    (b, C, H, W), or points, float (b, 2).
    """

    index: Tensor
    pool: Tensor
    logits: Tensor | None
    label: Tensor | None
    images: Tensor


class Statistic(Metric):
    """Sums over a set of images. Every state adds up: over batches, over the halves of a set, over devices.

    A subclass declares its states by `add_sum` and fills them in `update`; what it depends on must be the plan and the
    features alone. `version` is raised when old values in a cache no longer mean the same.
    """

    full_state_update = False
    version = 1

    def __init__(self, plan: Plan):
        super().__init__(sync_on_compute=True, dist_sync_on_step=False)
        self.plan = plan

    def add_sum(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> None:
        """Declares a state that begins as zeros."""
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")
        self._keep_defaults_small()

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        moved = super()._apply(*args, **kwargs)
        self._keep_defaults_small()
        return moved

    def _keep_defaults_small(self) -> None:
        """torchmetrics keeps a copy of each state as it began: of zeros, one is enough."""
        self._defaults = {name: zeros.new_zeros(()).expand(zeros.shape) for name, zeros in self._defaults.items()}

    def update(self, features: Features) -> None:
        raise NotImplementedError

    def compute(self) -> dict[str, Tensor]:
        """The sums themselves (torchmetrics adds those of all devices first)."""
        return self.sums()

    def sums(self) -> dict[str, Tensor]:
        """The states by name."""
        return {name: getattr(self, name) for name in self._defaults}

    def load_sums(self, sums: dict[str, Tensor]) -> None:
        """Takes over states that `sums` gave."""
        for name in self._defaults:
            setattr(self, name, sums[name])

    def __add__(self, other: Self) -> Self:
        """The statistic of both sets together."""
        total = type(self)(self.plan).to(self.device)
        mine, others = self.sums(), other.sums()
        total.load_sums({name: mine[name] + others[name] for name in mine})
        return total

    # Metrics hash and compare by identity of their states, and overload `==` and `+`; neither is wanted here.
    __hash__ = object.__hash__
