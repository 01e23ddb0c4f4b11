"""Ctrl-C and SIGTERM."""

import signal
from types import FrameType
from typing import Any

import lightning as L

from gan_lightning.module import GANModule

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal(L.Callback):
    """Ends training after the step in which a signal arrives, as if the run had been that long: with a checkpoint.

    The handler only makes a note: saving, or waiting for other processes, inside a handler hangs. The same signal
    again ends the process at once. With several processes they agree every `every` steps, since one that stops alone
    leaves the others waiting.
    """

    every = 20

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_train_batch_end(self, trainer: L.Trainer, module: GANModule, *args: Any) -> None:
        if trainer.world_size == 1:
            trainer.should_stop |= self.received is not None
        elif module.steps % self.every == 0:
            stop = trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)
            if stop and self.received is None:
                self.received = signal.SIGTERM  # another process was told
            trainer.should_stop |= stop

    def teardown(self, trainer: L.Trainer, module: GANModule, stage: str) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        print(f"\n{signal.Signals(number).name}: stopping after this step (again: at once)", flush=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
