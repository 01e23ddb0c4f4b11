"""Runs jobs: each in a process of its own, or in batches through another of Hydra's launchers."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import TaskFunction
from omegaconf import DictConfig

from gan_lightning.errors import ConfigError
from gan_lightning.stopping import CODES
from gan_lightning.sweeps.command import environment, gpu_slices, job_command
from gan_lightning.sweeps.composing import subfolder
from gan_lightning.sweeps.jobs import LOG, Job, Outcome, plural

POLL_SECONDS = 0.1
WAIT_SECONDS = 2.0
LEAVE_SECONDS = 20.0  # for the further processes of a job whose first one has ended
WAIT = "wait"
"""What `take` returns when there are jobs, but others run them at present."""

Take = Callable[[], Job | str | None]
Done = Callable[[Job, Outcome], None]


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen
    slot: int
    begin: float
    log_begin: int
    ended: float | None = None


class ProcessPool:
    """Runs `n_jobs` jobs at once, each as a command of its own.

    Args:
        hydra_overrides: the sweep's own.
        full_error: what the user set HYDRA_FULL_ERROR to.
    """

    def __init__(self, hydra_overrides: Sequence[str], full_error: str | None, n_jobs: int, gpus_per_job: int | None):
        for name, value in (("n_jobs", n_jobs), ("gpus_per_job", gpus_per_job)):
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"hydra.launcher.{name}={value}: must be an integer from 1 on")
        self.hydra_overrides, self.full_error, self.n_jobs = list(hydra_overrides), full_error, n_jobs
        self.gpus = gpu_slices(n_jobs, gpus_per_job)
        self._signals: list[int] = []

    @classmethod
    def of(cls, config: DictConfig, task: TaskFunction, n_jobs: int, gpus_per_job: int | None) -> "ProcessPool":
        return cls(config.hydra.overrides.hydra, getattr(task, "users_choice", None), n_jobs, gpus_per_job)

    def run(self, take: Take, done: Done) -> int | None:
        """Runs what `take` hands out until it is None and all have ended; tells `done` of each.

        A signal is passed on to the jobs, which save and end, and no more are started.

        Returns:
            The exit code that a signal asked for; None without one.
        """
        running: list[_Running] = []
        exhausted, next_look = False, 0.0
        with self._note_signals():
            try:
                while running or not (exhausted or self._signals):
                    while (len(running) < self.n_jobs and time.monotonic() >= next_look
                           and not (exhausted or self._signals)):
                        job = take()
                        if job is None:
                            exhausted = True
                        elif job == WAIT:
                            next_look = time.monotonic() + WAIT_SECONDS
                        else:
                            running.append(self._start(job, self._free_slot(running)))
                    time.sleep(POLL_SECONDS)
                    self._pass_on(running)
                    for one in [one for one in running if self._has_ended(one)]:
                        running.remove(one)
                        self._finish(one, done)
            finally:
                self._end_all(running)
        return CODES[self._signals[0]] if self._signals else None

    def _start(self, job: Job, slot: int) -> _Running:
        job.begin()
        command = job_command(self.hydra_overrides, [*job.overrides, *job.more], job.folder)
        with open(job.folder / LOG, "ab") as log:
            log.write(f"$ {shlex.join(command)}\n".encode())
            log.flush()
            held = (job.claim.fd,) if job.claim and job.claim.fd is not None else ()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                       env=environment(self.full_error, self.n_jobs, self.gpus[slot]), pass_fds=held,
                                       start_new_session=True)  # a terminal's Ctrl-C reaches it through us alone
            return _Running(job, process, slot, time.monotonic(), log.tell())

    def _free_slot(self, running: list[_Running]) -> int:
        return min(set(range(self.n_jobs)) - {one.slot for one in running})

    def _has_ended(self, one: _Running) -> bool:
        """Whether the job is over, with all its processes; those that stay behind are ended."""
        if one.process.poll() is None:
            return False
        one.ended = one.ended or time.monotonic()
        with suppress(ChildProcessError):
            os.waitpid(-one.process.pid, os.WNOHANG)  # its orphans are ours if we are process 1, as in a container
        if not _group_exists(one.process.pid):
            return True
        if time.monotonic() - one.ended <= LEAVE_SECONDS:
            return False
        _send(one.process.pid, signal.SIGKILL, to_group=True)
        return True

    def _finish(self, one: _Running, done: Done) -> None:
        code = one.process.returncode
        outcome = one.job.end(code, _last_words(one, code), time.monotonic() - one.begin)
        if one.job.claim:
            one.job.claim.release()
        done(one.job, outcome)

    @contextmanager
    def _note_signals(self) -> Iterator[None]:
        self._signals, self._passed, self._impatience = [], 0, 0
        before = {number: signal.signal(number, lambda number, frame: self._signals.append(number)) for number in CODES}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, running: list[_Running]) -> None:
        """The first signal lets jobs save and end; another Ctrl-C ends them at once, one more kills them."""
        for number in self._signals[self._passed:]:
            first, self._passed = self._passed == 0, self._passed + 1
            if first:
                print(f"\n{signal.Signals(number).name}: waiting for {plural(len(running), 'job')} to save and end "
                      "(Ctrl-C: at once)", flush=True)
            elif number != signal.SIGINT:  # schedulers send several
                continue
            self._impatience += not first
            for one in running:
                _send(one.process.pid, number if self._impatience < 2 else signal.SIGKILL, self._impatience >= 2)

    def _end_all(self, running: list[_Running]) -> None:
        """After an error of the sweep itself: jobs save and end, however long an evaluation takes (Ctrl-C: at once)."""
        for one in running:
            _send(one.process.pid, signal.SIGTERM)
        for one in running:
            while one.process.poll() is None and signal.SIGINT not in self._signals:
                time.sleep(POLL_SECONDS)
            _send(one.process.pid, signal.SIGKILL, to_group=True)


class LauncherPool:
    """Runs jobs in batches of `size` through a launcher of Hydra's, such as joblib or submitit."""

    def __init__(self, launcher: Launcher, size: int | None = None):
        self.launcher, self.size = launcher, size

    def run(self, take: Take, done: Done) -> None:
        """Runs what `take` hands out, `size` at a time; tells `done` of each. Ctrl-C passes."""
        while (batch := self._batch(take)) is not None:
            if not batch:
                time.sleep(WAIT_SECONDS)
                continue
            begin = time.monotonic()
            for job in batch:
                job.begin(requeued=True)
            errors = self._launch(batch)
            for job, error in zip(batch, errors, strict=True):
                outcome = job.end(0 if error is None else 1, error, time.monotonic() - begin)
                if job.claim:
                    job.claim.release()
                done(job, outcome)

    def _batch(self, take: Take) -> list[Job] | None:
        batch: list[Job] = []
        while self.size is None or len(batch) < self.size:
            job = take()
            if job is None or job == WAIT:
                return batch if batch or job == WAIT else None
            batch.append(job)
        return batch

    def _launch(self, batch: list[Job]) -> list[str | None]:
        """For each job its error, or None."""
        overrides = [[*job.overrides, *job.more, *subfolder(job)] for job in batch]
        try:
            returned = self.launcher.launch(overrides, initial_job_idx=batch[0].number)
        except Exception as error:  # noqa: BLE001 - a job that died; which one, its folder tells
            return [_one_line(error)] * len(batch)
        return [None if result.status == JobStatus.COMPLETED else _one_line(result._return_value)
                for result in returned]


def _one_line(error: Any) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _last_words(one: _Running, code: int) -> str | None:
    """What the log says of a failure: our own message if there is one, else its last line."""
    if code == 0:
        return None
    if code < 0:
        return f"killed by signal {-code} ({signal.strsignal(-code)})" + (": out of memory?" if code == -9 else "")
    with open(one.job.folder / LOG, "rb") as file:
        file.seek(max(one.log_begin, file.seek(0, os.SEEK_END) - 20_000))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("error: ")]
    return (ours or lines or [f"exit code {code}"])[-1].removeprefix("error: ")


def _send(process: int, number: int, to_group: bool = False) -> None:
    with suppress(ProcessLookupError, PermissionError):
        (os.killpg if to_group else os.kill)(process, number)


def _group_exists(process: int) -> bool:
    try:
        os.killpg(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
