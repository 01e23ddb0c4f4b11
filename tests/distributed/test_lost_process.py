"""A process that dies, fails or stops answering ends the run: soon, with one line, and leaving none behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
AT_ONCE = "all others were ended too; ckpt_path=last goes on from the last checkpoint"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")]


class Run:
    """Two processes that train until something happens to them."""

    def __init__(self, folder: Path, *settings: str):
        command = [sys.executable, HERE.parents[1] / "train.py", "model=mlp", "data.batch_size=8", "max_kimg=100000",
                   "trainer.accelerator=cpu", "trainer.devices=2", "metrics=none", "callbacks.watchdog=null",
                   "callbacks.curves=null", "callbacks.samples=null", "logger=none", "hydra.run.dir=run",
                   "callbacks.progress.line_every_seconds=0.2", *settings]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
        self.first = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
                                      stderr=subprocess.PIPE, start_new_session=True)

    def until(self, said: str) -> "Run":
        assert any(said in line for line in self.first.stdout), self.first.stderr.read()
        return self

    def processes(self) -> dict[int, int]:
        """Process -> its parent, of all in the run's session that are not dead."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
            except OSError:  # gone meanwhile
                continue
            if int(session) == self.first.pid and state not in "ZX":
                found[int(path.parent.name)] = int(parent)
        return found

    @property
    def second(self) -> int:
        (process,) = (process for process, parent in self.processes().items() if parent == self.first.pid)
        return process

    def end(self, within: float) -> tuple[int, list[str]]:
        """Exit code and lines of stderr."""
        until = time.monotonic() + within
        try:
            _, errors = self.first.communicate(timeout=within)
            while self.processes() and time.monotonic() < until:
                time.sleep(0.2)
            assert not self.processes()
        finally:
            for process in self.processes():
                os.kill(process, signal.SIGKILL)
        return self.first.returncode, errors.strip().splitlines()


@pytest.mark.parametrize("task, said", [("gan_lightning.tasks.generation.Generation", "img/s"),
                                        ("faulty.Deaf", "does not communicate")])
def test_the_second_process_is_killed(tmp_path, task, said):
    run = Run(tmp_path, f"task._target_={task}").until(said)
    second = run.second
    os.kill(second, signal.SIGKILL)
    code, errors = run.end(within=60)
    assert code == 1
    assert errors == [f"error: process 1 (pid {second}) was killed by SIGKILL; {AT_ONCE}"]


def test_the_first_process_is_killed(tmp_path):
    run = Run(tmp_path).until("img/s")
    os.kill(run.first.pid, signal.SIGKILL)
    code, errors = run.end(within=60)
    assert code == -signal.SIGKILL
    assert errors == [f"error: the process that started this one (pid {run.first.pid}) has gone; {AT_ONCE}"]


@pytest.mark.parametrize("first", [False, True])
def test_a_process_stops_answering(tmp_path, first):
    run = Run(tmp_path, "trainer.strategy.timeout_seconds=15").until("img/s")
    os.kill(run.first.pid if first else run.second, signal.SIGSTOP)
    code, errors = run.end(within=60)
    assert code == (-signal.SIGKILL if first else 1)
    assert len(errors) == 1 and AT_ONCE in errors[0]
    assert "has not answered for 15 s (trainer.strategy.timeout_seconds)" in errors[0]


def test_one_process_raises(tmp_path):
    code, errors = Run(tmp_path, "task._target_=faulty.FailsOnOne").end(within=120)
    assert code == 1
    assert any("ValueError: something is wrong here" in line for line in errors)
    assert errors[-1].startswith("error: process 1 (pid ") and AT_ONCE in errors[-1]
    assert "ended with exit code 1; it says why above" in errors[-1]


def test_what_all_processes_raise_is_said_once(tmp_path):
    code, errors = Run(tmp_path, "task._target_=faulty.FailsOnAll").end(within=120)
    assert (code, errors) == (1, ["error: something is wrong everywhere"])
