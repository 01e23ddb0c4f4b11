"""Whole sweeps, their jobs in processes of their own."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml

from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.jobs import record
from gan_lightning.sweeps.space import read
from gan_lightning.sweeps.study import Study

ROOT = Path(__file__).parents[2]
QUICK = ["model=mlp", "data.batch_size=16", "logger=none", "callbacks.watchdog=null", "callbacks.curves=null",
         "callbacks.samples=null", "callbacks.losses=null"]
SCORE = ["metrics=random_conv", "metrics.num_fake=20", "metrics.num_real=200",
         *(f"metrics.scores.{name}=null" for name in ("kernel", "prdc", "memorisation", "diversity"))]
NOTES = '''
import json
import os
import time

import lightning as L


class Note(L.Callback):
    """Writes what each device is training, and slows it down if told to."""

    def on_train_start(self, trainer, module):
        text = json.dumps([module.seed, module.config["optim"]["g"]["lr"], trainer.world_size])
        with open(os.path.join(trainer.default_root_dir, f"rank{trainer.global_rank}.json"), "w") as file:
            file.write(text)

    def on_train_batch_end(self, *args):
        time.sleep(float(os.environ.get("SLOW", 0)))
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "notes.py").write_text(NOTES)
    return tmp_path


def start(folder, *arguments, **environment):
    """A sweep, from a directory that is not the repository's."""
    return subprocess.Popen([sys.executable, ROOT / "train.py", *QUICK, *arguments], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment)


def run(folder, *arguments):
    process = start(folder, *arguments)
    output, errors = process.communicate(timeout=500)
    return process.returncode, output, errors


def table(sweep: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((sweep / "sweep.csv").open(newline="")))


def starts(job: Path) -> int:
    return (job / "log.txt").read_text().count("\n$ ") + 1


def wait_for(condition, seconds=300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


@pytest.mark.slow
def test_grid_on_two_devices(folder):
    """Each job has one folder and one config on all of its devices; one that fails is told of and ends nothing."""
    code, output, errors = run(folder, "-m", "max_kimg=0.064", "metrics=none", "seed=7", "optim.g.lr=-1,1e-3",
                               "trainer.accelerator=cpu", "trainer.devices=2", "+callbacks.note._target_=notes.Note",
                               "hydra.sweep.dir=sweep")
    assert code == 1 and errors == "error: 1 of 2 jobs did not finish: #0\n", errors
    assert "#0 failed" in output and "Invalid learning rate: -1" in output and "(see sweep/0/log.txt)" in output
    assert sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__") == ["sweep"]
    assert sorted(path.name for path in (folder / "sweep").iterdir() if path.is_dir()) == ["0", "1"]
    assert [json.loads((folder / f"sweep/1/rank{rank}.json").read_text()) for rank in (0, 1)] == [[7, 1e-3, 2]] * 2
    assert [(row["number"], row["state"], row["optim.g.lr"]) for row in table(folder / "sweep")] == [
        ("0", "failed", "-1"), ("1", "finished", "0.001")]
    assert "Invalid learning rate" in table(folder / "sweep")[0]["error"]
    assert (folder / "sweep/1/log.txt").read_text().count("trained   ") == 1


@pytest.mark.slow
def test_a_stopped_grid_goes_on(folder):
    """SIGTERM lets jobs save; the same command goes on with these, and leaves alone what is done."""
    command = ["-m", "max_kimg=0.8", "metrics=none", "seed=1,2", "hydra.sweep.dir=sweep",
               "+callbacks.note._target_=notes.Note"]
    process = start(folder, *command, SLOW="0.2")
    wait_for((folder / "sweep/0/rank0.json").exists)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 75 and "goes on" in output.splitlines()[-1], output
    assert [row["state"] for row in table(folder / "sweep")] == ["interrupted", "waiting"]
    assert 0 < float(table(folder / "sweep")[0]["kimg"]) < 0.8

    code, output, errors = run(folder, *command)
    assert code == 0, errors
    assert [(row["state"], row["kimg"], row["seed"]) for row in table(folder / "sweep")] == [
        ("finished", "0.8", "1"), ("finished", "0.8", "2")]
    assert [starts(folder / f"sweep/{i}") for i in (0, 1)] == [2, 1]
    assert "going on from sweep/0" in (folder / "sweep/0/log.txt").read_text()

    code, output, errors = run(folder, *command)
    assert code == 0 and "2 of them done" in output and [starts(folder / f"sweep/{i}") for i in (0, 1)] == [2, 1]
    code, _, errors = run(folder, *command[:-1], "optim.g.lr=0.5")
    assert code == 2 and "sweep/0 holds another job" in errors and "optim.g.lr=0.5" in errors


RANGES = ["optim.g.lr=tag(log,interval(1e-5,1e-2))", "optim.d.lr=tag(log,interval(1e-5,1e-2))", "loss=hinge,lsgan"]


@pytest.mark.slow
def test_a_killed_search_goes_on(folder):
    """Twelve trials, killed in the midst of them: none is lost, none is done twice, the best is the best."""
    command = ["hparams_search=optuna_tpe", *SCORE, "max_kimg=0.32", "metrics.every_kimg=0.032", "loss.n_critic=1",
               *(f"optim.{player}.betas=[0.5,0.9]" for player in "gd"), "optim.ema.half_life_kimg=1", *RANGES,
               "hydra.sweeper.n_trials=12", "hydra.sweeper.pruner.n_startup_trials=3", "hydra.sweep.dir=sweep",
               "hydra.launcher.n_jobs=2"]
    sweep = folder / "sweep"
    process = start(folder, *command)
    wait_for(lambda: len(list(sweep.glob("*/summary.json"))) >= 4 and (sweep / "5/job.json").exists())
    process.kill()
    process.communicate()
    before = {row["number"]: row["state"] for row in table(sweep)}
    assert "finished" in before.values()  # the table of what was done has survived

    code, output, errors = run(folder, *command)
    assert code == 0, errors
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(sweep / "study.log")))
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}  # some of each
    rows = table(sweep)
    for trial, row in zip(trials, rows, strict=True):
        summary = json.loads((sweep / str(trial.number) / "summary.json").read_text())
        assert row["state"] == summary["ended"] == {"COMPLETE": "finished", "PRUNED": "pruned"}[trial.state.name]
        assert float(row["best"]) == summary["best"]["value"]
        assert summary["kimg"] == 0.32 if row["state"] == "finished" else summary["kimg"] < 0.32
        assert trial.state.name == "PRUNED" or trial.value == summary["best"]["value"]
        assert all(f"{key}={row[key]}" in record(sweep / row["number"])["overrides"] for key in ("loss", "optim.g.lr"))
        assert starts(sweep / row["number"]) == 1 or before.get(row["number"], "running") == "running"
    assert sum(starts(sweep / str(i)) for i in range(12)) <= 12 + 2

    # The first ten are drawn at random: an uninterrupted study with the same seed draws them too.
    space = read({}, ["loss=hinge,lsgan", *RANGES[:2]]).swept
    alone = Study(f"journal:///{folder}/alone.log", "s", space, {}, False, {"_target_": "optuna.samplers.RandomSampler", "seed": 0})
    for row in rows[:10]:
        assert alone.values(alone.new(10)) == {key: row[key] for key in space}

    best = yaml.safe_load((sweep / "best.yaml").read_text())
    assert best["best"] == min(float(row["best"]) for row in rows)
    assert f"optim.g.lr={rows[best['number']]['optim.g.lr']}" in best["overrides"] and "hparams_search" not in best["command"]
    assert f"best      {best['command']}" in output
    assert (sweep / "sweep.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("launcher, plugin", [
    ("basic", "hydra"), ("joblib", "hydra_plugins.hydra_joblib_launcher"),
    ("submitit_local", "hydra_plugins.hydra_submitit_launcher"),
])
def test_other_launchers(folder, launcher, plugin):
    pytest.importorskip(plugin)
    code, output, errors = run(folder, "-m", "max_kimg=0.064", *SCORE, "seed=1,2", "optim.g.lr=1e-3,1e39" if launcher == "joblib"
                               else "optim.g.lr=1e-3", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep")
    rows = table(folder / "sweep")
    failed = [row["number"] for row in rows if row["state"] == "failed"]
    assert failed == (["1", "3"] if launcher == "joblib" else []) and code == bool(failed), errors
    assert all(float(row["best"]) > 0 for row in rows if row["number"] not in failed)


def test_a_folder_of_another_study_is_refused(tmp_path):
    """Its checkpoint and its score would be taken for this trial's."""
    from gan_lightning.sweeps.base import Sweep
    from gan_lightning.sweeps.jobs import Job

    for overrides in (["optim.g.lr=1e-4"], ["optim.g.lr=1e-2"]):
        job = Job(0, overrides, {}, folder=tmp_path / "0")
        if overrides == ["optim.g.lr=1e-2"]:
            with pytest.raises(ConfigError, match="holds another job .*choose another hydra.sweep.dir"):
                Sweep.check_folder(None, job)
        else:
            Sweep.check_folder(None, job)
            job.begin()
            Sweep.check_folder(None, job)
