"""A task: which networks play, and what each player's loss is on a batch."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

Batch = dict[str, Tensor]


class Clock(NamedTuple):
    """When a loss is taken: this player's steps so far, and real images D has seen so far, on all devices; `images` is
    how many go into this step, on all devices."""

    step: int
    nimg: int
    images: int = 0


class Step(NamedTuple):
    """All that a term may look at.

    `real`, `fake`: (N, *), fakes detached in D's step. `real_logits`, `fake_logits`: (N, 1), or one per patch;
    `real_logits` is None in G's step unless the loss compares with reals. `critic`: D after augmentation,
    uncompiled, for terms that evaluate it at points of their own; penalties switch autocast off for it. `network`: the
    player's own. Features, (N, F), are there when a term of this step reads them; `head` is what D makes of them
    besides its logit (`gan_lightning.conditioning`). `z`: the latents of `fake`, as drawn. `generate`: latents and
    labels -> fakes, by G, whose weights are frozen in D's step.
    """

    critic: Callable[[Tensor, Tensor | None], Tensor]
    network: nn.Module
    real: Tensor
    fake: Tensor
    real_logits: Tensor | None
    fake_logits: Tensor
    cond: Tensor | None
    clock: Clock
    batch: Batch
    real_features: Tensor | None = None
    fake_features: Tensor | None = None
    head: nn.Module | None = None
    z: Tensor | None = None
    generate: Callable[[Tensor, Tensor | None], Tensor] | None = None


class Task(nn.Module):
    """Subclasses set `g`, `d` and `n_critic`, and write the three methods below.

    `g` and `d` are the modules that each player's optimizer owns (a ModuleDict where a player has several).
    """

    g: nn.Module
    d: nn.Module
    n_critic: int = 1

    def d_loss(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Named summands of D's loss. G's weights are frozen."""
        raise NotImplementedError

    def g_loss(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Named summands of G's loss. D's weights are frozen."""
        raise NotImplementedError

    def generate(self, batch: Batch, g: nn.Module) -> Tensor:
        """One fake for each item of `batch`, made by `g` (the live or the averaged one)."""
        raise NotImplementedError

    def after_d_step(self) -> None:
        """Called when D's weights have changed."""

    def readings(self) -> dict[str, Tensor]:
        """Scalars worth a curve besides the losses, by name: equal on all devices, and left where they are."""
        return {}
