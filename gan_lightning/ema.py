"""Exponential moving average of a network's weights, measured in images."""

from collections.abc import Callable
from copy import deepcopy
from typing import Literal

import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.schedules import at
from gan_lightning.shares import local


class EMA(nn.Module):
    """A second G that lags behind the live one; pictures and scores are taken from it.

    After `half_life_kimg` thousand images a weight's influence has halved. Early on the half-life is
    `rampup` times the images seen so far, so that the first, random weights are soon forgotten
    (Karras et al. 2020, ADA, app. C). The half-life may also be a schedule of the images seen so far
    (`gan_lightning.schedules`); while that is 0, the average is the live network.

    Batch-norm statistics belong to weights, and no network has these averaged ones: with
    `bn_buffers="average"` they are averaged along, with `"copy"` they are the live network's. Every other
    buffer (power iterations, counters) is always copied.
    """

    def __init__(self, network: nn.Module, half_life_kimg: float | Callable[[int], float] = 10.0,
                 rampup: float | None = 0.05, bn_buffers: Literal["average", "copy"] = "average"):
        super().__init__()
        if not callable(half_life_kimg) and half_life_kimg <= 0:
            raise ConfigError(f"optim.ema.half_life_kimg={half_life_kimg}: must be above 0 "
                              "(optim.ema=null switches the average off)")
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.half_life_kimg, self.rampup, self.bn_buffers = half_life_kimg, rampup, bn_buffers
        self._tensors = None

    def decay(self, nimg: int, images: int) -> float:
        """What the average keeps of itself in an update after `images` more images, `nimg` in all."""
        half_life = at(self.half_life_kimg, nimg) * 1000
        if self.rampup is not None:
            half_life = min(half_life, nimg * self.rampup)
        return 0.5 ** (images / max(half_life, 1e-8))

    @torch.no_grad()
    def update(self, network: nn.Module, nimg: int, images: int) -> None:
        """Moves the average towards `network`."""
        if self._tensors is None:
            self._tensors = self._pair(network)
        averaged, live, copied, source = self._tensors
        torch._foreach_lerp_(averaged, live, 1 - self.decay(nimg, images))
        if copied:
            torch._foreach_copy_(copied, source)

    def _pair(self, network: nn.Module) -> tuple[list, list, list, list]:
        averaged, live = list(self.network.parameters()), list(network.parameters())
        copied, source, buffers = [], [], dict(network.named_buffers())
        for name, buffer in self.network.named_buffers():
            statistic = name.endswith(("running_mean", "running_var"))
            ours, theirs = (averaged, live) if statistic and self.bn_buffers == "average" else (copied, source)
            ours.append(buffer)
            theirs.append(buffers[name])
        return [local(t) for t in averaged], [local(t) for t in live], copied, source

    def _apply(self, *args, **kwargs):
        self._tensors = None  # moving a module replaces its buffers
        return super()._apply(*args, **kwargs)

    def train(self, mode: bool = True):
        return super().train(False)  # an average is only ever used for sampling
