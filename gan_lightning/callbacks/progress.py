"""The progress bar, in thousand images."""

import sys
import time
from typing import Any

import lightning as L
from tqdm import tqdm

from gan_lightning.module import GANModule


class Progress(L.Callback):
    """A bar on a terminal, a line now and then in a log file: kimg, losses, images/s, time left.

    Args:
        every_seconds: between refreshes of the bar; reading the losses makes the device wait.
        line_every_seconds: between lines where the output is not a terminal.
    """

    def __init__(self, every_seconds: float = 0.5, line_every_seconds: float = 20.0):
        self.every_seconds, self.line_every_seconds = every_seconds, line_every_seconds
        self._bar: tqdm | None = None
        self._next = 0.0

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        self._start, self._start_nimg = time.monotonic(), module.nimg
        self._total = trainer.max_steps * trainer.datamodule.images_per_step
        self._total += module.nimg - module.steps * trainer.datamodule.images_per_step  # batch size may have changed
        if not trainer.is_global_zero:
            self._next = float("inf")
        elif sys.stderr.isatty():
            layout = "{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]"
            self._bar = tqdm(total=self._total / 1000, initial=module.nimg / 1000, unit="kimg", dynamic_ncols=True,
                             bar_format=layout)
            self._next = 0.0
        else:
            self._next = time.monotonic() + self.line_every_seconds

    def on_train_batch_end(self, trainer: L.Trainer, module: GANModule, *args: Any) -> None:
        if time.monotonic() >= self._next:
            self._show(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: GANModule) -> None:
        if trainer.is_global_zero and self._bar is not None:
            self._show(trainer, module)
        self._close()

    def on_exception(self, trainer: L.Trainer, module: GANModule, exception: BaseException) -> None:
        self._close()

    def _show(self, trainer: L.Trainer, module: GANModule) -> None:
        speed = (module.nimg - self._start_nimg) / max(time.monotonic() - self._start, 1e-9)
        values = module.journal.latest() | _principal_score(module)
        text = " ".join(f"{name} {value:.3g}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(f"{speed:,.0f} img/s {text}", refresh=False)
            self._bar.update(module.nimg / 1000 - self._bar.n)
            self._bar.refresh()
            self._next = time.monotonic() + self.every_seconds
        else:
            left = (self._total - module.nimg) / max(speed, 1e-9)
            print(f"{module.nimg / 1000:.1f}/{self._total / 1000:.1f} kimg, {speed:,.0f} img/s, "
                  f"{_clock(left)} left, {text}", flush=True)
            self._next = time.monotonic() + self.line_every_seconds

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _principal_score(module: GANModule) -> dict[str, float]:
    """The newest; it is the first in its row."""
    for row in reversed(module.journal.rows):
        for name, value in row.items():
            if name.startswith("metrics/"):
                return {name.removeprefix("metrics/"): value}
    return {}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
