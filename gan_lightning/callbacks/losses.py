"""Losses, for loggers and curves."""

import lightning as L

from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.module import GANModule


class LogLosses(EveryKimg):
    """Records the mean of each loss since the last time. Reading losses stops the device, so not at each step."""

    def __init__(self, every_kimg: float = 1.0):
        super().__init__(every_kimg)

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        losses = module.fold_losses()
        if losses:
            lr = {f"lr/{player}": optimizer.param_groups[0]["lr"]
                  for player, optimizer in zip(("d", "g"), module.optimizers(), strict=True)}
            readings = {name: float(value) for name, value in module.task.readings().items()}
            module.record(losses | lr | readings)
