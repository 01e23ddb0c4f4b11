"""Ctrl-C, SIGTERM and SIGUSR1 during training."""

import time
from typing import Any

import lightning as L
import torch

from gan_lightning.module import GANModule
from gan_lightning.stopping import CODES, Signals

ASKED = (0, *sorted(set(CODES.values()), reverse=True))
"""Exit codes, the stronger wish last: a scheduler's is stronger than a terminal's."""


class StopOnSignal(L.Callback):
    """Ends training after the step in which a signal arrives, on whichever device, with a checkpoint.

    Devices agree at the end of steps about a second apart, since one that stops alone leaves the others waiting. How
    many steps that is they agree upon as well, from the slowest one's pace.

    Args:
        signals: that have been received.
    """

    every_seconds = 1.0
    most_steps = 1000

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self._next = 0  # the step after which devices agree again
        self._then, self._at = 0.0, 0

    def setup(self, trainer: L.Trainer, module: GANModule, stage: str) -> None:
        # Lightning's handlers save and communicate inside the handler, and requeue SLURM jobs by themselves.
        trainer._signal_connector.register_signal_handlers = _nothing
        self.signals.noting = trainer.world_size > 1  # one that ends alone would be a crash to the others
        self.signals.abandon, self.signals.quiet = lambda: end_launched(trainer), not trainer.is_global_zero

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        self.signals.install()
        self.signals.noting = True
        self._then, self._at, self._next = time.monotonic(), module.steps, module.steps + 1

    def on_train_batch_end(self, trainer: L.Trainer, module: GANModule, *args: Any) -> None:
        if trainer.world_size == 1:
            code = self.signals.code
        else:
            code = self._agree(trainer, module) if module.steps >= self._next else 0
        if code and module.steps < trainer.max_steps:  # after its last step a run has ended anyway
            module.stopped, trainer.should_stop = module.stopped or "interrupted", True

    def _agree(self, trainer: L.Trainer, module: GANModule) -> int:
        """The exit code that any device was asked for, 0 if none was."""
        now = time.monotonic()
        pace = (now - self._then) / (module.steps - self._at)
        mine = torch.tensor([ASKED.index(self.signals.code), pace], device=trainer.strategy.root_device)
        asked, pace = trainer.strategy.reduce(mine, reduce_op="max").tolist()
        self._next = module.steps + max(1, min(self.most_steps, int(self.every_seconds / max(pace, 1e-9))))
        self._then, self._at = now, module.steps
        code = ASKED[int(asked)]
        if code:  # what arrives after the question waits for the next
            self.signals.code = code
        return code


def end_launched(trainer: L.Trainer) -> None:
    """Ends the processes that Lightning started from this one."""
    for process in getattr(trainer.strategy.launcher, "procs", []):
        process.kill()


def _nothing() -> None:
    """Signals are taken already."""
