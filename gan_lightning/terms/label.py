"""What a head on D's features adds to a player's loss."""

from typing import Literal

from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Step, Task
from gan_lightning.terms.base import Term, Weight


class HeadLoss(Term):
    """The head's loss for the player whose term this is (`gan_lightning.conditioning`).

    Args:
        player: whose loss, d or g.
    """

    reads_features = True
    allows_sharding = False  # the head is called outside of D's hooks, which gather its weights

    def __init__(self, player: Literal["d", "g"], weight: Weight = 1.0, every: int = 1):
        super().__init__(weight, every)
        self.player = player

    def bind(self, task: Task) -> None:
        if self.player_in(task) != self.player:
            raise ConfigError(f"loss: HeadLoss with player={self.player} must be among loss.{self.player}_terms")
        if getattr(task.d, "head", None) is None:
            raise ConfigError(f"loss.{self.player}_terms: HeadLoss needs a discriminator with a head: choose one by "
                              "conditioning=")

    def __call__(self, step: Step) -> Tensor:
        return step.head.d_loss(step) if self.player == "d" else step.head.g_loss(step)
