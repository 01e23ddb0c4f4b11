"""Processes of jobs: small programs in place of training."""

import os
import signal
import sys
import threading
import time

import pytest

from gan_lightning.sweeps import pool as pools
from gan_lightning.sweeps.claims import Claims
from gan_lightning.sweeps.jobs import LOG, Job
from gan_lightning.sweeps.pool import WAIT, ProcessPool

JOB = """
import os, signal, subprocess, sys, time
from pathlib import Path
what, folder = sys.argv[1].removeprefix("what="), Path(sys.argv[-1].removeprefix("hydra.run.dir="))
def saved(number, frame):
    print("saved", flush=True)
    sys.exit(130 if number == signal.SIGINT else 75)
if what == "finishes":
    print("all is well")
elif what == "fails":
    print("error: first"); print("error: so wrong"); print("and more"); sys.exit(1)
elif what == "raises":
    {}["key"]
elif what == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "meets":  # ends well only if all three run at once
    (folder / "here").touch()
    end = time.time() + 20
    while len(list(folder.parent.glob("*/here"))) < 3:
        if time.time() > end: sys.exit(1)
        time.sleep(0.02)
elif what == "leaves":  # another process behind
    print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)
elif what == "trains":
    signal.signal(signal.SIGINT, saved); signal.signal(signal.SIGTERM, saved)
    (folder / "here").touch(); time.sleep(60)
elif what == "stubborn":
    signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "here").touch(); time.sleep(60)
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """`sweep("fails", "finishes", n_jobs=2)`: runs such jobs; returns the exit code asked for and what came of them."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", JOB])
    monkeypatch.setattr(sys, "argv", ["-c"])

    def run(*kinds: str, n_jobs: int = 1, take=None):
        jobs = [Job(i, [f"what={kind}"], {"what": kind}, tmp_path / str(i)) for i, kind in enumerate(kinds)]
        waiting, came = iter(jobs), {}
        pool = ProcessPool([], None, n_jobs, None)
        code = pool.run(take or (lambda: next(waiting, None)), lambda job, outcome: came.update({job.title[5:]: outcome}))
        return code, came

    return run


def when(path, *numbers: int) -> None:
    """Sends signals to this process once `path` exists, a second apart."""

    def send():
        while not path.exists():
            time.sleep(0.02)
        for number in numbers:
            time.sleep(0.3)
            os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_what_comes_of_jobs(sweep, tmp_path):
    code, came = sweep("finishes", "fails", "raises", "dies", n_jobs=4)
    assert code is None
    assert {kind: outcome.state for kind, outcome in came.items()} == {"finishes": "finished", "fails": "failed",
                                                                       "raises": "failed", "dies": "failed"}
    assert (came["fails"].error, came["raises"].error) == ("so wrong", "KeyError: 'key'")
    assert came["dies"].error == "killed by signal 9 (Killed): out of memory?"
    log = (tmp_path / "0" / LOG).read_text()
    assert log.startswith("$ ") and log.endswith("all is well\n") and "hydra.mode=RUN" in log


def test_jobs_run_at_once(sweep):
    assert [outcome.state for outcome in sweep(*["meets"] * 3, n_jobs=3)[1].values()] == ["finished"]


def test_nothing_stays_behind(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "LEAVE_SECONDS", 0.2)
    assert sweep("leaves")[1]["leaves"].state == "finished"
    left = int((tmp_path / "0" / LOG).read_text().splitlines()[-1])
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # until whoever inherited it has noticed its end
            os.kill(left, 0)
            time.sleep(0.05)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_a_signal_lets_jobs_save(sweep, tmp_path, number, code):
    when(tmp_path / "0/here", number)
    before = signal.getsignal(number)
    asked, came = sweep("trains", "never begun")
    assert asked == code and {kind: outcome.state for kind, outcome in came.items()} == {"trains": "interrupted"}
    assert signal.getsignal(number) is before
    assert not (tmp_path / "1").exists()
    if number != signal.SIGUSR1:  # which the program does not know
        assert (tmp_path / "0" / LOG).read_text().endswith("saved\n")


def test_impatience(sweep, tmp_path):
    """A scheduler's repeated SIGTERM changes nothing, the third Ctrl-C does."""
    when(tmp_path / "0/here", signal.SIGTERM, signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGINT)
    begin = time.monotonic()
    code, came = sweep("stubborn")
    assert code == 75 and came["stubborn"].state == "failed" and time.monotonic() - begin < 50
    assert "killed by signal 9" in came["stubborn"].error


def test_a_fault_of_the_sweep_ends_its_jobs(sweep, tmp_path):
    jobs = iter([Job(0, ["what=trains"], {"what": "trains"}, tmp_path / "0")])

    def take():
        if (job := next(jobs, None)) is None:
            while not (tmp_path / "0/here").exists():
                time.sleep(0.02)
            raise RuntimeError("storage")
        return job

    with pytest.raises(RuntimeError, match="storage"):
        sweep(n_jobs=2, take=take)
    assert (tmp_path / "0" / LOG).read_text().endswith("saved\n")


def test_what_others_run_is_waited_for(sweep, tmp_path, monkeypatch):
    """`take` says so, and is asked again; a job holds its claim until it ends."""
    monkeypatch.setattr(pools, "WAIT_SECONDS", 0.01)
    claims, answers = Claims(), [WAIT, WAIT, "job", WAIT, None]

    def take():
        if (answer := answers.pop(0)) != "job":
            return answer
        return Job(0, ["what=meets"], {"what": "meets"}, tmp_path / "0", claim=claims.take(tmp_path / "0"))

    def look():
        while not (tmp_path / "0/here").exists():
            time.sleep(0.02)
        seen.append(Claims().take(tmp_path / "0"))
        for other in "ab":
            (tmp_path / other).mkdir()
            (tmp_path / other / "here").touch()

    seen = []
    threading.Thread(target=look, daemon=True).start()
    assert sweep(take=take)[1]["meets"].state == "finished"
    assert answers == [] and seen == [None] and Claims().take(tmp_path / "0") is not None
