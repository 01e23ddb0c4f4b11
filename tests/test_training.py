"""Whole runs: resuming, many devices, run directories."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.errors import CheckpointError, ConfigError, TrainingDiverged, UserError

ROOT = Path(__file__).parent.parent
HARD = ["model=dcgan", "model.width=8", "loss=wgan_gp", "term=[r1]", "loss.d_terms.r1.every=4", "optim/decay=cosine",
        "optim.decay.kimg=1", "callbacks=default", "callbacks.losses.every_kimg=0.1", "callbacks.samples=null",
        "callbacks.curves=null", "callbacks.checkpoint.every_kimg=0.1"]


def state(run: Path) -> dict:
    return read_checkpoint(run)


@pytest.mark.parametrize("stop", [0.16, 0.4, 0.56])
def test_resume_is_exact(train, tmp_path, stop):
    """Weights, averages, Adam's moments and metrics.csv equal an uninterrupted run's, bit for bit."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = [*HARD, "logger=csv"]
    train(*settings, "max_kimg=0.8", f"logger.csv.path={whole}/metrics.csv", run_dir=whole)
    train(*settings, f"max_kimg={stop}", f"logger.csv.path={parts}/metrics.csv", run_dir=parts)
    train(*settings, "max_kimg=0.8", f"logger.csv.path={parts}/metrics.csv", "ckpt_path=last", run_dir=parts)
    a, b = state(whole), state(parts)
    assert all(torch.equal(a["state_dict"][k], b["state_dict"][k]) for k in a["state_dict"])
    for mine, theirs in zip(a["optimizer_states"], b["optimizer_states"], strict=True):
        for index, values in mine["state"].items():
            assert all(torch.equal(v, theirs["state"][index][k]) for k, v in values.items())
    assert a["gan_lightning"]["nimg"] == b["gan_lightning"]["nimg"] == 800
    rows = {run: {row["kimg"]: row for row in csv.DictReader((run / "metrics.csv").open())} for run in (whole, parts)}
    for kimg, row in rows[whole].items():  # the interruption itself adds a row where it stopped
        if float(kimg) <= stop or float(kimg) > stop + 0.1:
            assert rows[parts][kimg] == row


def run_train(folder, *arguments, **options):
    return subprocess.run([sys.executable, ROOT / "train.py", "model=mlp", "data.batch_size=16", "metrics=none", *arguments], cwd=folder,
                          capture_output=True, text=True, timeout=300, **options)


@pytest.mark.slow
def test_last_is_the_newest_run_unless_a_directory_is_named(tmp_path):
    first = run_train(tmp_path, "max_kimg=0.064", "hydra.run.dir=runs/a")
    assert first.returncode == 0, first.stderr
    named = run_train(tmp_path, "max_kimg=0.064", "ckpt_path=last", "hydra.run.dir=runs/b")
    assert "starting afresh" in named.stdout and "going on" not in named.stdout
    newest = run_train(tmp_path, "max_kimg=0.128", "ckpt_path=last")
    assert "going on from runs/b/checkpoints/last.ckpt" in newest.stdout
    assert "trained   0.1 kimg (8 generator" in newest.stdout
    two = run_train(tmp_path, "max_kimg=0.256", "ckpt_path=last", "trainer.accelerator=cpu", "trainer.devices=2")
    assert two.returncode == 0 and "trained   0.3 kimg (12 generator" in two.stdout, two.stderr  # 8 and 4 of 2 x 16
    sweep = run_train(tmp_path, "-m", "seed=1,2", "max_kimg=0.032", "ckpt_path=last")
    logs = [log.read_text() for log in tmp_path.glob("runs/*_sweep/*/log.txt")]
    assert sweep.returncode == 0 and sum("starting afresh" in log for log in logs) == 2


@pytest.mark.slow
def test_a_run_told_to_stop_saves_and_goes_on(tmp_path):
    """As a scheduler does: SIGTERM, to the process that it started alone; the other was started by that."""
    command = [sys.executable, ROOT / "train.py", "model=mlp", "data.batch_size=16", "hydra.run.dir=run", "metrics=none",
               "trainer.accelerator=cpu", "trainer.devices=2", "callbacks.progress.line_every_seconds=0.2", "ckpt_path=last"]
    process = subprocess.Popen([*command, "max_kimg=100000"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "img/s" in line:
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "ckpt_path=last hydra.run.dir=" in output
    kimg = read_checkpoint(tmp_path / "run")["gan_lightning"]["nimg"] / 1000
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["kimg"] == kimg and summary["ended"] == "interrupted"
    more = subprocess.run([*command, f"max_kimg={kimg + 1}"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert more.returncode == 0 and "going on from" in more.stdout, more.stderr


def test_nothing_to_resume_starts_afresh_and_says_so(train, tmp_path, capsys):
    module = train("model=mlp", "max_kimg=0.032", "ckpt_path=last", run_dir=tmp_path / "runs" / "a")
    assert "starting afresh" in capsys.readouterr().out and module.steps == 2


def test_resume_with_another_batch_size_reaches_the_same_kimg(train, tmp_path):
    train("model=mlp", "max_kimg=0.16", "callbacks=default", run_dir=tmp_path / "a")
    module = train("model=mlp", "max_kimg=0.32", "data.batch_size=40", f"ckpt_path={tmp_path / 'a'}")
    assert (module.nimg, module.steps) == (320, 10 + 4)


def test_a_finished_run_has_nothing_left_to_do(train, tmp_path):
    for extra in ([], ["ckpt_path=last"]):
        module = train("model=mlp", "max_kimg=0.064", "callbacks=default", *extra, run_dir=tmp_path / "a")
        assert module.steps == 4


def test_a_run_is_not_overwritten(train, tmp_path):
    for name in ("a", "b"):
        train("model=mlp", "max_kimg=0.016", "callbacks=default", run_dir=tmp_path / name)
    for settings in ([], [f"ckpt_path={tmp_path / 'b'}"]):
        with pytest.raises(ConfigError, match=r"holds a run already: go on with it \(ckpt_path=last\)"):
            train("model=mlp", "max_kimg=0.016", *settings, run_dir=tmp_path / "a")


def test_settings_of_optimizers_are_the_configs_and_not_the_checkpoints(train, tmp_path):
    train("model=mlp", "max_kimg=0.016", "callbacks=default", run_dir=tmp_path / "a")
    module = train("model=mlp", "max_kimg=0.032", f"ckpt_path={tmp_path / 'a'}", "optim.g.lr=5e-3", "optim.d.betas=[0,0.5]")
    d, g = module.trainer.optimizers
    assert g.param_groups[0]["lr"] == 5e-3 and tuple(d.param_groups[0]["betas"]) == (0.0, 0.5)
    assert g.state[g.param_groups[0]["params"][0]]["step"] == 2  # and its state is the checkpoint's


def test_a_folder_that_cannot_be_written_to_is_known_at_once(train, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/run: cannot be written to .Not a directory."):
        train("model=mlp", "max_kimg=0.016", run_dir=tmp_path / "file" / "run")


def test_no_checkpoint_without_its_callback(train, tmp_path):
    train("model=mlp", "max_kimg=0.032", "callbacks=default", "callbacks.checkpoint=null", run_dir=tmp_path / "a")
    assert not list((tmp_path / "a").rglob("*.ckpt"))


@pytest.mark.parametrize("callbacks", ["default", "none"])
def test_weights_that_are_not_finite_are_never_saved(train, tmp_path, callbacks):
    with pytest.raises(TrainingDiverged, match="became"):
        train("model=mlp", "max_kimg=0.032", f"callbacks={callbacks}", "optim.g.lr=1e39", "optim.d.lr=1e39",
              run_dir=tmp_path / "a")
    assert not list(tmp_path.rglob("last.ckpt"))


@pytest.mark.parametrize("settings, message", [
    (["max_kimg=inf"], "max_kimg=inf: must be above 0"),
    (["trainer.precision=bf16-true"], "trainer.precision=bf16-true: .* choose bf16-mixed"),
    (["trainer.accelerator=gpu"], "trainer: .*"),
    (["model=deconv_mlp", "data.batch_size=1"], "data.batch_size=1: batch normalisation needs at least 2"),
    (["+loss.g_terms.drift._target_=gan_lightning.terms.drift.Drift"], "loss.g_terms.drift: Drift is a term of the other"),
])
@pytest.mark.skipif(torch.cuda.is_available(), reason="the third is right on a machine with a GPU")
def test_refused(train, settings, message):
    from hydra.errors import InstantiationException

    with pytest.raises((ConfigError, InstantiationException)) as error:
        train("model=mlp", *settings)
    assert re.search(message, str(error.value))


def test_ckpt_path_that_is_none(train):
    with pytest.raises(CheckpointError, match="no/such: no such checkpoint"):
        train("model=mlp", "ckpt_path=no/such")


def test_labels_are_needed_for_a_conditional_model(train):
    with pytest.raises(ConfigError, match="model.conditional=true: .* has no classes"):
        train("model=mlp", "model.conditional=true", "data.num_classes=0")


def test_ddp_is_refused_by_name(train):
    with pytest.raises(ConfigError, match="trainer.strategy=ddp_spawn: .*trainer.strategy=gan"):
        train("model=mlp", "trainer.strategy=ddp_spawn")


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
@pytest.mark.parametrize("loss", ["wgan_gp", "rpgan"])
def test_other_precisions(train, precision, loss):
    module = train("model=dcgan", "model.width=8", f"loss={loss}", f"trainer.precision={precision}", "max_kimg=0.24",
                   "callbacks=default")
    assert all(p.isfinite().all() for p in module.parameters())
    assert module.dtype == (torch.float64 if precision == "64-true" else torch.float32)


@pytest.mark.slow
def test_two_processes_make_one_run(tmp_path):
    """`trainer.devices=2` alone: one directory, one set of logs, and D sees twice the images."""
    command = [sys.executable, ROOT / "train.py", "model=mlp", "loss=wgan_gp", "data.batch_size=8", "max_kimg=0.8",
               "trainer.accelerator=cpu", "trainer.devices=2", "callbacks.losses.every_kimg=0.2",
               "callbacks.watchdog=null", "metrics=none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["devices"], summary["kimg"], summary["g_steps"]) == (2, 0.8, 10)
    assert done.stdout.count("trained") == 1
    kimg = [float(row["kimg"]) for row in csv.DictReader((run / "metrics.csv").open())]
    assert kimg == sorted(set(kimg)) and kimg[-1] == 0.8


@pytest.mark.slow
def test_wandb_offline_and_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    common = [sys.executable, ROOT / "train.py", "model=mlp", "data.batch_size=16", "callbacks.losses.every_kimg=0.1", "metrics.num_fake=100",
              "callbacks.samples.every_kimg=0.2", f"hydra.run.dir={tmp_path / 'run'}"]
    subprocess.run([*common, "max_kimg=0.4", "logger=wandb"], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    (first,) = [p.name for p in (tmp_path / "run" / "wandb").iterdir() if p.name.startswith("offline-run-")]
    media = list((tmp_path / "run" / "wandb" / first / "files" / "media" / "images").iterdir())
    assert media
    from PIL import Image

    assert max(Image.open(media[0]).convert("L").getextrema()) > 100  # not black
    subprocess.run([*common, "max_kimg=0.8", "logger=wandb", "ckpt_path=last"], cwd=tmp_path, check=True,
                   capture_output=True, timeout=300)
    runs = {p.name.split("-")[-1] for p in (tmp_path / "run" / "wandb").iterdir() if p.name.startswith("offline-run-")}
    assert runs == {first.split("-")[-1]}  # the same W&B run
    subprocess.run([*common, "max_kimg=1.0", "logger=tensorboard", "ckpt_path=last"], cwd=tmp_path, check=True,
                   capture_output=True, timeout=300)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("d/adv")] == [912, 1008]
    assert events.Tags()["images"] == ["neighbours", "samples"]
    assert events.Scalars("metrics/fd_classifier")
