"""Callbacks that act every so many thousand images."""

from typing import Any

import lightning as L

from gan_lightning.errors import ConfigError
from gan_lightning.module import GANModule


class EveryKimg(L.Callback):
    """Calls `act` each time training passes a multiple of `every_kimg`, and once more when it ends.

    When that is depends on the images seen alone, so a resumed run acts where an uninterrupted one does: not at an
    interruption, and not twice in one step.
    """

    def __init__(self, every_kimg: float):
        if every_kimg <= 0:
            raise ConfigError(f"every_kimg={every_kimg} of {type(self).__name__}: must be above 0; "
                              "set the callback itself to null to switch it off")
        self.every_kimg = every_kimg
        self._acted_at = -1

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        """What is to be done; called on all devices."""
        raise NotImplementedError

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        # A checkpoint may have been written in a step in which this was still to act.
        if module.crossed(self.every_kimg):
            self._act_once(trainer, module)

    def on_train_batch_end(self, trainer: L.Trainer, module: GANModule, *args: Any) -> None:
        # At the last step too, and not later: a checkpoint saved in this round then holds what all others did in it.
        if module.crossed(self.every_kimg) or module.steps == trainer.max_steps:
            self._act_once(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: GANModule) -> None:
        if module.stopped != "interrupted":  # such a run goes on, as if nothing had happened
            self._act_once(trainer, module)

    def _act_once(self, trainer: L.Trainer, module: GANModule) -> None:
        if self._acted_at != module.steps:
            self._acted_at = module.steps
            self.act(trainer, module)

    def on_save_checkpoint(self, trainer: L.Trainer, module: GANModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.setdefault("acted_at", {})[self._name(trainer)] = self._acted_at

    def on_load_checkpoint(self, trainer: L.Trainer, module: GANModule, checkpoint: dict[str, Any]) -> None:
        self._acted_at = checkpoint.get("acted_at", {}).get(self._name(trainer), -1)

    def _name(self, trainer: L.Trainer) -> str:
        """Of this callback among all of a run, some of which may be of one class."""
        alike = [callback for callback in trainer.callbacks if type(callback) is type(self)]
        return f"{type(self).__qualname__}.{alike.index(self)}"
