"""The processes of a run on one machine: how they start, and how all of them end when one does."""

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import lightning as L
import torch.distributed as dist
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from gan_lightning.errors import ConfigError, UserError

STARTER = "GAN_LIGHTNING_STARTER"
"""In the environment of the processes that this launcher starts: its process id."""

TORCHRUN = "TORCHELASTIC_RUN_ID"
"""In the environment of the processes that torchrun starts."""

LOOK_EVERY, GRACE, PATIENCE, LAST_WAIT = 0.2, 2.0, 6.0, 60.0
"""Seconds: between looks at the others; for this process to end by itself when one of them is lost; for the first
process to end this one, since it may have failed in the same way and need not say so twice; for the others to finish
what they do after training."""

SIGNS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "timed out waiting")
"""Of communication that failed, in the text of a RuntimeError: not every backend has an exception of its own for it."""


class ProcessLost(UserError):
    """Another process of the run ended, or does not answer."""


class Launcher(_SubprocessScriptLauncher):
    """Starts the further processes of a machine as Lightning does, and ends all with one line when one is lost.

    Communication with a process that is gone fails at once in one backend and never in another. So the first process
    of a machine watches those that it started, and they watch it, as they watch torchrun if that started them.
    """

    def __init__(self, cluster_environment: ClusterEnvironment, num_processes: int, num_nodes: int, timeout: float):
        super().__init__(cluster_environment, num_processes, num_nodes)
        self.timeout = timeout
        self._starter: int | None = None

    def launch(self, function: Callable, *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> Any:
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not environment.creates_processes_externally:
            os.environ[STARTER] = str(os.getpid())
            self._call_children_scripts()
            atexit.register(_wait_for, self.procs)
        elif os.environ.get(STARTER) == str(os.getppid()) or TORCHRUN in os.environ:
            self._starter = os.getppid()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        watch = _Watch(self._lost, self._end_others)
        watch.start()
        try:
            return function(*args, **kwargs)
        except Exception as error:
            self._fail(error, watch)
        finally:
            watch.over.set()

    def _fail(self, error: Exception, watch: "_Watch") -> NoReturn:
        """Raises `error`, or what it is a consequence of, and sees to it that the other processes end."""
        watch.over.set()
        told = _is_communication(error)
        lost = self._wait(PATIENCE if self._is_ours() else GRACE if told else 0)
        self._end_others()
        if not told:
            raise error
        if lost is None and _is_timeout(error):
            lost = (f"another process has not answered for {self.timeout:g} s (trainer.strategy.timeout_seconds): it "
                    "hangs, or needs longer")
            self._end_starter()
        if self._is_ours() and self.cluster_environment.local_rank() > 1:
            raise SystemExit(1)  # the first of those left says it
        raise ProcessLost(_advise(lost or "lost contact with a process that was started elsewhere, where more is said")
                          ) from error

    def _wait(self, seconds: float) -> str | None:
        """What `_lost` says, as soon as it says something."""
        until = time.monotonic() + seconds
        while (lost := self._lost()) is None and time.monotonic() < until:
            time.sleep(LOOK_EVERY)
        return lost

    def _lost(self) -> str | None:
        """Which process has gone, in words."""
        if self._starter is not None and os.getppid() != self._starter:
            return f"the process that started this one (pid {self._starter}) has gone"
        for local_rank, process in enumerate(self.procs, 1):
            if process.poll():
                rank = self.cluster_environment.node_rank() * self.num_processes + local_rank
                return f"process {rank} (pid {process.pid}) {_ending(process.returncode)}"
        return None

    def _end_others(self) -> None:
        for process in self.procs:
            if process.poll() is None:
                process.kill()  # even one that is stopped, or waits inside of a driver

    def _end_starter(self) -> None:
        if self._is_ours() and os.getppid() == self._starter:
            with suppress(ProcessLookupError):
                os.kill(self._starter, signal.SIGKILL)

    def _is_ours(self) -> bool:
        """Whether another process's launcher started this one."""
        return self._starter is not None and os.environ.get(STARTER) == str(self._starter)


def check_processes(world_size: int) -> None:
    """Raises ConfigError if torchrun or srun started another number of processes than the config has devices."""
    counts = {"srun": "SLURM_STEP_NUM_TASKS"} | ({"torchrun": "WORLD_SIZE"} if TORCHRUN in os.environ else {})
    for starter, count in counts.items():
        started = int(os.environ.get(count, "1"))
        if started > 1 and started != world_size:
            raise ConfigError(f"{starter} started {started} processes, and trainer.devices x trainer.num_nodes is "
                              f"{world_size}: set trainer.devices to the number of processes on each machine")


class _Watch(threading.Thread):
    """Looks after the other processes while the main thread trains, and ends this one if that cannot."""

    def __init__(self, lost: Callable[[], str | None], end_others: Callable[[], None]):
        super().__init__(name="watch over other processes", daemon=True)
        self._lost, self._end_others = lost, end_others
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(LOOK_EVERY):
            if (lost := self._lost()) is None:
                continue
            if not self.over.wait(GRACE):
                print(f"error: {_advise(lost)}", file=sys.stderr, flush=True)
                self._end_others()
                os._exit(1)
            return


def _wait_for(processes: list[subprocess.Popen]) -> None:
    until = time.monotonic() + LAST_WAIT
    for process in processes:
        try:
            process.wait(max(0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}; it says why above"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _advise(lost: str) -> str:
    return f"{lost}; all others were ended too; ckpt_path=last goes on from the last checkpoint"


def _is_communication(error: Exception) -> bool:
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def _is_timeout(error: Exception) -> bool:
    return "timed out" in str(error).lower() or "timeout" in str(error).lower()
