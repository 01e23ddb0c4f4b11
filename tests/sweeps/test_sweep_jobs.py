"""What a job's folder tells, and who may run it."""

import json
import os
import subprocess
import sys
import time

import pytest

from gan_lightning.sweeps import claims
from gan_lightning.sweeps.claims import Claims
from gan_lightning.sweeps.jobs import LOCK, RECORD, Job, Outcome, outcome, record, short

SCORES = {"main": "fd", "scores": {"fd": {"value": 3.0, "reals": 0.5, "higher_is_better": False}}}


def summary(folder, ended, best=2.5):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"ended": ended, "kimg": 4.0, "wall_seconds": 9.5, "scores": SCORES,
               "best": {"score": "fd", "value": best, "fingerprint": "abc"}}
    (folder / "summary.json").write_text(json.dumps(content))


@pytest.fixture
def job(tmp_path):
    return Job(3, ["model=mlp", "seed=1"], {"seed": "1"}, tmp_path / "3")


@pytest.mark.parametrize("ended, code, state", [
    ("finished", 0, "finished"), ("pruned", 0, "pruned"), ("watchdog", 1, "watchdog"), ("interrupted", 75, "interrupted"),
    ("interrupted", 130, "interrupted"), (None, -15, "interrupted"), (None, 143, "interrupted"), (None, 1, "failed"),
    (None, -9, "failed"), (None, 2, "failed"), (None, 0, "finished"),
])
def test_states(job, ended, code, state):
    assert outcome(job.folder) == Outcome("waiting")
    job.begin()
    assert outcome(job.folder).state == "running"
    if ended:
        summary(job.folder, ended)
    found = job.end(code, "its last words", 7.0)
    assert found == outcome(job.folder)
    assert (found.state, found.done) == (state, state in ("finished", "pruned", "watchdog"))
    assert found.error == ("its last words" if state in ("failed", "watchdog") else None)
    assert (found.best, found.last, found.reals) == ((2.5, 3.0, 0.5) if ended else (None, None, None))
    assert found.seconds == (9.5 if ended else 7.0)


def test_a_job_cut_short_goes_on_from_its_checkpoint(job):
    job.begin()
    assert job.more == []
    summary(job.folder, "interrupted")
    job.begin()
    assert job.more == [] and not (job.folder / "summary.json").exists()  # without a checkpoint, afresh
    (job.folder / "checkpoints").mkdir()
    (job.folder / "checkpoints" / ".last.ckpt.1.tmp").touch()
    job.begin()
    assert job.more == []
    (job.folder / "checkpoints" / "last.ckpt").touch()
    summary(job.folder, "interrupted")
    job.begin()
    assert job.more == ["ckpt_path=last"] and (job.folder / "summary.json").exists()


def test_seconds_of_all_attempts_count(job):
    for _ in range(3):
        job.begin()
        job.end(-9, "killed", 2.0)
    assert record(job.folder)["seconds"] == 6.0 and record(job.folder)["overrides"] == job.overrides


HOLD = """
import sys
from pathlib import Path
from gan_lightning.sweeps.claims import Claims
claim = Claims().take(Path(sys.argv[1]))
print("held" if claim else "refused", flush=True)
sys.stdin.read()
"""


def test_one_job_has_one_sweep(tmp_path):
    """A claim holds against other processes, until the one that has it is killed; a child that inherits it has it too."""
    mine = Claims()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert mine.take(tmp_path) is None
    holder.kill()
    holder.wait()
    claim = mine.take(tmp_path)
    assert claim is not None and Claims().take(tmp_path) is None
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[claim.fd])
    claim.release()
    assert mine.take(tmp_path) is None
    child.kill()
    child.wait()
    assert mine.take(tmp_path) is not None


def test_another_machine_is_believed_to_live_while_it_touches_the_lock(job, monkeypatch):
    """Locks that a network disk keeps from us must not let a job run twice."""
    job.begin()
    content = json.loads((job.folder / RECORD).read_text())
    (job.folder / RECORD).write_text(json.dumps(content | {"host": "elsewhere"}))
    (job.folder / LOCK).touch()
    clock = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: clock[0])
    here = Claims()
    assert here.take(job.folder) is None and not here.elsewhere(job.folder)  # as far as we have seen
    clock[0] = claims.SILENT_SECONDS - 1
    os.utime(job.folder / LOCK, (time.time() + 30, time.time() + 30))
    assert here.take(job.folder) is None and here.elsewhere(job.folder)
    clock[0] += claims.SILENT_SECONDS - 1
    assert here.take(job.folder) is None
    clock[0] += 2
    claim = here.take(job.folder)
    assert claim is not None and not here.elsewhere(job.folder)
    claim.release()
    job.begin()  # noted as ours
    assert Claims().take(job.folder) is not None


@pytest.mark.parametrize("value, shown", [("0.00010160177584759024", "0.0001016"), ("1e-05", "1e-05"), ("hinge", "hinge"),
                                          ("12345678", "1.235e+07"), ("[0.0,0.9]", "[0.0,0.9]"), ("0.5", "0.5")])
def test_short_numbers(value, shown):
    assert short(value) == shown
