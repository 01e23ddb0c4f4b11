"""How the two players' weights move: optimizers, learning-rate decay, clipping, accumulation, averaging."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gan_lightning.errors import ConfigError


class Optimisation:
    """What the engine needs to know about optimisation.

    Args:
        g, d: parameters -> optimizer. Two learning rates are the two time-scale rule (Heusel et al. 2017).
        g_clip, d_clip: the largest allowed gradient norm of that player; null does not clip.
        accumulate: batches whose gradients are averaged before a step; n batches of B are one of n x B.
        decay: a schedule that multiplies both learning rates; null keeps them.
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
    ):
        if accumulate < 1:
            raise ConfigError(f"optim.accumulate={accumulate}: must be at least 1")
        for name, clip in (("g_clip", g_clip), ("d_clip", d_clip)):
            if clip is not None and clip <= 0:
                raise ConfigError(f"optim.{name}={clip}: must be above 0; null does not clip")
        self._make, self.clip = {"g": g, "d": d}, {"g": g_clip, "d": d_clip}
        self.accumulate, self.decay, self.ema = accumulate, decay, ema

    def optimizer(self, player: str, weights: list[nn.Parameter]) -> Optimizer:
        """The optimizer of `player`, "g" or "d"."""
        try:
            return self._make[player](weights)
        except (TypeError, ValueError) as error:  # such as torch's own "Invalid learning rate: -1"
            raise ConfigError(f"optim.{player}: {error}") from error
