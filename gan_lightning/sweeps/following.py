"""A job ends, with a checkpoint, when the sweep that started it is no more."""

import os
import signal
import threading
import time

PARENT = "GAN_LIGHTNING_SWEEP_PID"
"""Holds the number of the sweep's process, in the environment of a job that it starts."""
EVERY_SECONDS = 1.0


def follow() -> None:
    """Begins to watch the process that PARENT names, which started this one. Those that this one starts do not."""
    parent = int(os.environ.pop(PARENT, 0))
    if parent and os.name == "posix":
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
