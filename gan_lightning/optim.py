"""How the two players' weights move: optimizers, learning-rate decay, clipping, accumulation, averaging."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gan_lightning.errors import ConfigError

FOREVER = 10**15  # images: where every schedule has ended


class Optimisation:
    """What the engine needs to know about optimisation.

    Args:
        g, d: parameters -> optimizer. Two learning rates are the two time-scale rule (Heusel et al. 2017).
        g_clip, d_clip: the largest allowed gradient norm of that player; null does not clip.
        accumulate: batches whose gradients are averaged before a step; n batches of B are one of n x B.
        decay: a schedule that multiplies both learning rates; null keeps them.
        beta2: a schedule for the second of both Adam optimizers' betas, in place of their own; null keeps them.
        ema: network -> its average; null samples from the live G.
    """

    def __init__(
        self,
        g: Callable[[Any], Optimizer],
        d: Callable[[Any], Optimizer],
        g_clip: float | None = None,
        d_clip: float | None = None,
        accumulate: int = 1,
        decay: Callable[[int], float] | None = None,
        ema: Callable[[nn.Module], nn.Module] | None = None,
        beta2: Callable[[int], float] | None = None,
    ):
        if accumulate < 1:
            raise ConfigError(f"optim.accumulate={accumulate}: must be at least 1")
        for name, clip in (("g_clip", g_clip), ("d_clip", d_clip)):
            if clip is not None and clip <= 0:
                raise ConfigError(f"optim.{name}={clip}: must be above 0; null does not clip")
        for nimg in (0, FOREVER) if beta2 is not None else ():
            if not 0 <= beta2(nimg) < 1:
                raise ConfigError(f"optim.beta2: must stay at least 0 and below 1, and becomes {beta2(nimg)}")
        self._make, self.clip = {"g": g, "d": d}, {"g": g_clip, "d": d_clip}
        self.accumulate, self.decay, self.ema, self.beta2 = accumulate, decay, ema, beta2

    def optimizer(self, player: str, weights: list[nn.Parameter]) -> Optimizer:
        """The optimizer of `player`, "g" or "d"."""
        try:
            optimizer = self._make[player](weights)
        except (TypeError, ValueError) as error:  # such as torch's own "Invalid learning rate: -1"
            raise ConfigError(f"optim.{player}: {error}") from error
        if self.beta2 is not None and "betas" not in optimizer.defaults:
            raise ConfigError(f"optim.beta2: {type(optimizer).__name__} of optim.{player} has no betas; choose "
                              "optim=adam or adamw, or optim.beta2=null")
        return optimizer
