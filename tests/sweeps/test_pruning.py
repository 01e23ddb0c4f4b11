"""A trial tells its scores, and ends early when others did better."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial

from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.command import literal

ROOT = Path(__file__).parents[2]
SCORE = ["metrics=random_conv", "metrics.num_fake=20", "metrics.num_real=200", "metrics.every_kimg=0.08",
         *(f"metrics.scores.{name}=null" for name in ("kernel", "prdc", "memorisation", "diversity"))]
SETTINGS = ["model=mlp", "max_kimg=0.4", *SCORE]
STEPS = [80, 160, 240, 320, 400]
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 3}


@pytest.fixture
def study(tmp_path):
    """`study(value)`: one with three whole trials that had this score throughout, and a fourth, number 3, that runs."""

    def make(value: float, direction: str = "minimize"):
        url = f"journal:///{tmp_path}/study.log"
        backend = optuna.storages.journal.JournalFileBackend(f"{tmp_path}/study.log")
        made = optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name="s", direction=direction)
        for _ in range(3):
            made.add_trial(create_trial(value=value, intermediate_values=dict.fromkeys(STEPS, value)))
        assert made.ask().number == 3
        return made, url

    return make


def pruning(url: str, after: float = 0.3) -> str:
    node = {"_target_": "gan_lightning.callbacks.pruning.Pruning", "storage": url, "study": "s", "trial": 3, "pruner": MEDIAN,
            "after": after}
    return f"+callbacks.pruning={literal(node)}"


@pytest.mark.parametrize("value, direction, after, ended_at", [
    (0.0, "minimize", 0.0, 80), (0.0, "minimize", 0.3, 160), (0.0, "minimize", 1.0, 400), (1e9, "minimize", 0.0, 400),
    (1e9, "maximize", 0.3, 160), (0.0, "maximize", 0.0, 400),
])
def test_a_trial_ends_when_it_is_behind(train, study, tmp_path, value, direction, after, ended_at):
    made, url = study(value, direction)
    module = train(*SETTINGS, pruning(url, after), run_dir=tmp_path / "run")
    assert (module.nimg, module.stopped) == (ended_at, "pruned" if ended_at < 400 else None)
    assert json.loads((tmp_path / "run/summary.json").read_text())["ended"] == (module.stopped or "finished")
    assert list(made.trials[3].intermediate_values) == [step for step in STEPS if step <= ended_at]


@pytest.mark.parametrize("n_critic", [1, 3])
def test_what_is_told_are_the_scores(train, study, tmp_path, n_critic):
    """Whatever the length of a round, scores are told at the multiples that all trials pass."""
    made, url = study(1e9)
    module = train(*SETTINGS, f"loss.n_critic={n_critic}", pruning(url), run_dir=tmp_path / "run")
    rows = [row for row in module.journal.rows if "metrics/fd_random_conv" in row and row["kimg"] > 0]
    assert {row["kimg"] * 1000 % 80 for row in rows} == ({0.0} if n_critic == 1 else {0.0, 16.0, 32.0})
    told = made.trials[3].intermediate_values
    assert list(told) == STEPS and list(told.values()) == [row["metrics/fd_random_conv"] for row in rows]


def test_a_resumed_trial_goes_on_telling(train, study, tmp_path):
    """As an uninterrupted one; what has been told stays as it was."""
    made, url = study(1e9)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    save = "+callbacks.checkpoint={_target_:gan_lightning.callbacks.checkpoint.SaveCheckpoint,every_kimg:0.1}"
    module = train(*SETTINGS, save, run_dir=whole)
    scores = [row["metrics/fd_random_conv"] for row in module.journal.rows if "metrics/fd_random_conv" in row][1:]
    trial = made.trials[3]
    made._storage.set_trial_intermediate_value(trial._trial_id, 80, 123.0)
    train(*SETTINGS, "max_kimg=0.16", save, pruning(url), run_dir=parts)
    train(*SETTINGS, "ckpt_path=last", save, pruning(url), run_dir=parts)
    assert made.trials[3].intermediate_values == dict(zip(STEPS, [123.0, *scores[1:]], strict=True))


def test_a_study_out_of_reach_costs_no_run(train, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        module = train(*SETTINGS, pruning(f"journal:///{tmp_path}/none.log"), run_dir=tmp_path / "run")
    assert module.nimg == 400 and module.stopped is None
    assert any("cannot report to journal:///" in record.message for record in caplog.records)


def test_a_search_without_a_score_is_refused(train):
    with pytest.raises(ConfigError, match="needs a score.*metrics=auto"):
        train("model=mlp", "max_kimg=0.1", pruning("journal:///x.log"))


@pytest.mark.slow
def test_all_devices_end_together(study, tmp_path):
    made, url = study(0.0)
    command = [sys.executable, ROOT / "train.py", *SETTINGS, "data.batch_size=8", pruning(url), "trainer.accelerator=cpu",
               "trainer.devices=2", "callbacks.watchdog=null", "callbacks.curves=null", "callbacks.samples=null",
               f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["ended"], summary["devices"], summary["kimg"]) == ("pruned", 2, 0.16)
    assert list(made.trials[3].intermediate_values) == [80, 160]  # told once, by the first
