"""Signals that end a run: noted while it trains, so that it can save; before that there is nothing to save."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""Exit code after Ctrl-C (SIGINT), a shell's 128 + 2."""

RUN_AGAIN = 75
"""Exit code after SIGTERM or SIGUSR1: "saved, run me again" (EX_TEMPFAIL of sysexits.h), for schedulers to requeue."""

CODES = {getattr(signal, name): code for name, code in
         (("SIGINT", INTERRUPTED), ("SIGTERM", RUN_AGAIN), ("SIGUSR1", RUN_AGAIN)) if hasattr(signal, name)}

RANKS = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
"""Variables of the environment that number the processes of a run."""

PATIENCE = 2.0
"""Seconds that a process has to end by itself while there is nothing to save."""


class Signals:
    """Takes SIGINT, SIGTERM and SIGUSR1 within `with`.

    Until `noting` is set, the first ends the process at once with its exit code. From then on it is only noted, as
    `code`: saving, or waiting for other processes, inside a handler hangs. After that, Ctrl-C ends the process at once;
    SIGTERM and SIGUSR1 do not, since schedulers send several.

    Of several processes the first has that exit code, and the others 0: launchers take anything else for a crash.
    """

    def __init__(self) -> None:
        self.noting = False
        self.code = 0  # the exit code that was asked for; 0: none
        self.quiet = False
        self.abandon: Callable[[], Any] = lambda: None  # called before an end at once
        self._process = os.getpid()
        self._before: dict[int, Any] = {}
        self._watch: _Watch | None = None

    def __enter__(self) -> "Signals":
        self.install()
        if self._before:
            self._watch = _Watch(self)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._watch is not None:
            self._watch.end()
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def install(self) -> None:
        """Takes the signals, from whoever else took them meanwhile."""
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in CODES:
                before = signal.signal(number, self._receive)
                self._before.setdefault(number, before)

    def leave(self) -> None:
        """Ends the process at once."""
        self.abandon()
        os._exit(_own(self.code))

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # in a process forked from this one, a data worker: this one decides
        first, self.code = not self.code, self.code or CODES[number]
        if not self.noting:
            raise SystemExit(_own(self.code))
        if first and not self.quiet:
            _say(f"\n{signal.Signals(number).name}: stopping after this step (Ctrl-C: at once)\n")
        elif not first and number == signal.SIGINT:
            self.code = INTERRUPTED
            self.leave()


class _Watch(threading.Thread):
    """Ends a process that cannot, while there is nothing to save: one that waits for another process, which has gone
    already, never comes to its own handlers."""

    active = 0

    def __init__(self, signals: Signals):
        super().__init__(name="signals before training", daemon=True)
        self._signals, self._over = signals, threading.Event()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        _Watch.active += 1
        self.start()

    def end(self) -> None:
        signal.set_wakeup_fd(self._before)
        _Watch.active -= 1
        self._over.set()
        os.write(self._write, b"\0")  # the thread may wait for a signal
        self.join()
        os.close(self._read)
        os.close(self._write)

    def run(self) -> None:
        while not self._over.is_set():
            code = CODES.get(os.read(self._read, 1)[0])
            if code and not self._over.wait(PATIENCE) and not self._signals.noting:
                self._signals.code = code
                self._signals.leave()


def _forget_in_forks() -> None:
    if _Watch.active:  # what a data worker receives is not for this process
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_in_forks)


def outlast_signals(*_: Any) -> None:
    """For data workers (`worker_init_fn`), which a terminal or a scheduler signals too: the main process needs them for
    its last step. They end when it does."""
    for number in CODES:
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which programs that they start would inherit


def _own(code: int) -> int:
    return code if all(os.environ.get(name, "0") == "0" for name in RANKS) else 0


def _say(text: str) -> None:
    os.write(1, text.encode())  # `print` may have been interrupted half way, and would refuse
