"""The watchdog on runs that go wrong on purpose, and on runs that do not."""

import csv
import json
import math
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException

from gan_lightning.callbacks.watchdog import Watchdog, _coarse
from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.errors import ConfigError, TrainingDiverged, UserError
from gan_lightning.health import energy_distance, mean_distance
from gan_lightning.sampling import GAN
from gan_lightning.tasks.generation import Generation

ROOT = Path(__file__).parent.parent.parent
WATCHED = ["model=mlp", "callbacks=default", "callbacks.progress=null", "callbacks.samples=null", "callbacks.curves=null",
           "callbacks.watchdog.every_kimg=0.016", "callbacks.checkpoint.every_kimg=0.05"]
QUICK = [*WATCHED, "callbacks.watchdog.settle=0", "callbacks.watchdog.settle_steps=0", "callbacks.watchdog.patience=2"]


class Deaf(Generation):
    """Its generator never hears of z."""

    def generate(self, batch, g):
        n = len(batch.get("z", batch.get("real")))
        return super().generate(batch | {"z": torch.zeros(n, g.z_dim, dtype=next(g.parameters()).dtype)}, g)


@pytest.fixture
def deaf(monkeypatch):
    module = types.ModuleType("tests_deaf")
    module.Deaf = Deaf
    monkeypatch.setitem(sys.modules, "tests_deaf", module)
    return "task._target_=tests_deaf.Deaf"


@pytest.fixture
def broken_at(monkeypatch):
    """`broken_at(7)`: D's loss is NaN in its 7th step."""

    def broken_at(*steps):
        original = Generation.d_loss

        def broken(self, batch, clock):
            factor = math.nan if clock.step in steps else 1.0
            return {name: loss * factor for name, loss in original(self, batch, clock).items()}

        monkeypatch.setattr(Generation, "d_loss", broken)

    return broken_at


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("watchdog")]


def moments(state):
    return {(player, i, name): value for player, states in enumerate(state["optimizer_states"])
            for i, values in states["state"].items() for name, value in values.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What is recorded

def test_rows(train, tmp_path):
    """Each number of the last look, computed again from what the run left behind."""
    run = tmp_path / "run"
    module = train(*WATCHED, "loss=lsgan", "max_kimg=0.16", "logger=csv", f"logger.csv.path={run}/metrics.csv",
                   "model.conditional=true", run_dir=run)
    row = [r for r in module.journal.rows if "health/gap" in r][-1]
    real, fake = (logits.flatten() for logits in module.task.last_logits)
    assert len(real) == len(fake) == 16 and row["kimg"] == 0.16
    pairs = real[:, None] - fake
    expected = {
        "d_accuracy_real": (real > 0.5).float().mean(), "d_accuracy_fake": (fake < 0.5).float().mean(),
        "d_pairs": (pairs > 0).float().mean(), "gap": pairs.mean(),
        "gap_in_stds": pairs.mean() / ((real.var(correction=0) + fake.var(correction=0)) / 2).sqrt(),
        "d_gradient": torch.cat([w.grad.flatten() for w in module.task.d.parameters()]).norm(),
        "g_gradient": torch.cat([w.grad.flatten() for w in module.task.g.parameters()]).norm(),
    }
    source = module.trainer.datamodule.data.source()
    taken = source.take(torch.tensor([i * 1797 // 64 for i in range(64)]))
    reals = taken["real"].float() / 127.5 - 1
    fakes = GAN(module.task, module.task.g, module.config).sample(64, seed=0, label=taken["label"])
    expected |= {"diversity": mean_distance(fakes, taken["label"]) / mean_distance(reals, taken["label"]),
                 "distance": energy_distance(fakes, reals)}
    for name, value in expected.items():
        assert row[f"health/{name}"] == pytest.approx(float(value), rel=1e-4), name
    assert row["health/d_accuracy"] == pytest.approx((row["health/d_accuracy_real"] + row["health/d_accuracy_fake"]) / 2)
    with open(run / "metrics.csv", newline="") as file:
        assert len([r for r in csv.DictReader(file) if r["health/gap"]]) == 10


@pytest.mark.parametrize("loss, boundary", [("non_saturating", True), ("hinge", True), ("lsgan", True), ("rpgan", False),
                                            ("ragan", False), ("wgan_gp", False)])
def test_signs_are_looked_at_where_they_mean_something(train, loss, boundary):
    module = train(*WATCHED, f"loss={loss}", "max_kimg=0.16")
    last = module.journal.rows[-1]
    assert ("health/d_accuracy" in last) == boundary and "health/d_pairs" in last


@pytest.mark.parametrize("settings", [["data=gaussians_ring", "model=toy2d", "loss=rpgan"],
                                      ["model=dcgan", "model.width=8", "trainer.precision=bf16-mixed"],
                                      ["trainer.precision=64-true", "optim.accumulate=2", "optim.g_clip=1e-3"]])
def test_other_runs_are_watched_too(train, settings):
    module = train(*WATCHED, *settings, "max_kimg=0.16")
    row = module.journal.rows[-1]
    assert all(math.isfinite(row[f"health/{name}"]) for name in ("d_pairs", "gap", "d_gradient", "diversity", "distance"))
    if "optim.g_clip=1e-3" in settings:
        assert row["health/g_gradient"] == pytest.approx(1e-3, rel=1e-3)


def test_large_images_are_compared_coarsely():
    x = torch.randn(2, 3, 128, 96)
    assert torch.allclose(_coarse(x)[:, :, 3, 0], x[:, :, 6:8, 0:2].mean((2, 3)), atol=1e-6)  # 96 to 64: pairs
    assert _coarse(x).shape == (2, 3, 64, 64)
    assert torch.equal(_coarse(x[:, :, :8, :8]), x[:, :, :8, :8]) and torch.equal(_coarse(x[:, 0, 0]), x[:, 0, 0])


# What is said

def test_a_collapse_is_said_once_even_after_a_resume(train, tmp_path, caplog, deaf):
    train(*QUICK, deaf, "max_kimg=0.16", run_dir=tmp_path / "run")
    collapses = [line for line in said(caplog) if "collapse" in line]
    assert collapses == ["watchdog, 0.032 kimg: collapse: fakes differ from each other 0 times as much as reals do; "
                         "a smaller optim.g.lr, or loss=rpgan, may help"]
    caplog.clear()
    train(*QUICK, deaf, "max_kimg=0.32", "ckpt_path=last", run_dir=tmp_path / "run")
    assert not said(caplog)


def test_looks_before_a_resume_count(train, tmp_path, caplog, deaf):
    settings = [*QUICK, "callbacks.watchdog.patience=4", deaf]
    train(*settings, "max_kimg=0.048", run_dir=tmp_path / "run")
    assert not said(caplog)
    train(*settings, "max_kimg=0.064", "ckpt_path=last", run_dir=tmp_path / "run")
    assert [line[:31] for line in said(caplog) if "collapse" in line] == ["watchdog, 0.064 kimg: collapse:"]


def test_logits_out_of_bounds_are_a_divergence(train, caplog):
    train(*QUICK, "optim.d.lr=10", "optim.g.lr=10", "max_kimg=0.32")
    assert len(said(caplog)) == 1 and "diverged: the logits of reals and fakes are" in said(caplog)[0]


# Stopping

def test_stop_ends_the_run_with_all_that_a_run_ends_with(train, tmp_path, deaf):
    run = tmp_path / "run"
    with pytest.raises(UserError, match="stopped by the watchdog: collapse: fakes differ from each other 0 times"):
        train(*(setting for setting in QUICK if setting != "callbacks.samples=null"), deaf, "max_kimg=16",
              "callbacks.watchdog.on_alarm=stop", run_dir=run)
    state = read_checkpoint(run)
    assert state["gan_lightning"]["nimg"] == 32
    assert json.loads((run / "summary.json").read_text())["ended"] == "watchdog"
    assert (run / "samples" / "kimg_000000.032.png").exists()


# Going back

ROLLBACK = [*QUICK, "callbacks.watchdog.on_alarm=rollback"]
BROKEN = [*ROLLBACK, "callbacks.watchdog.won_above=2", "callbacks.watchdog.collapse_below=0"]  # nothing but NaN alarms


@pytest.mark.parametrize("watcher", ["losses", "watchdog", "checkpoint"])
def test_rollback_from_a_loss_that_is_not_finite(train, tmp_path, caplog, broken_at, watcher):
    """Whoever notices, the run goes on to its end: finite, at half the learning rates, with its clock untouched."""
    broken_at(12)
    intervals = [f"callbacks.{name}.every_kimg={0.016 if name == watcher else 0.064}"
                 for name in ("losses", "watchdog", "checkpoint")]
    module = train(*BROKEN, *intervals, "max_kimg=0.48", run_dir=tmp_path / "run")
    assert len(said(caplog)) == 1
    assert re.fullmatch("watchdog, .* kimg: diverged: d/adv became nan in generator step 12; back to the weights of 0.1.* "
                        r"kimg, learning rates times 0.5 from now on \(rollback 1 of 3\)", said(caplog)[0])
    assert (module.steps, module.nimg) == (30, 480)
    assert all(weight.isfinite().all() for weight in module.parameters())
    assert [o.param_groups[0]["lr"] for o in module.trainer.optimizers] == [1e-4, 1e-4]
    assert read_checkpoint(tmp_path / "run")["gan_lightning"]["lr_scale"] == 0.5
    assert all(math.isfinite(value) for row in module.journal.rows for value in row.values())


def test_rollback_restores_weights_averages_and_moments(train, tmp_path, broken_at):
    """The last step of the run is the broken one: what remains is the healthy state, to the bit."""
    broken_at(19)
    run = tmp_path / "run"
    train(*BROKEN, "max_kimg=0.32", "callbacks.watchdog.every_kimg=0.096", "callbacks.losses.every_kimg=1",
          "callbacks.checkpoint.every_kimg=1", run_dir=run)
    last, healthy = read_checkpoint(run), read_checkpoint(run / "checkpoints" / "healthy.ckpt")
    assert healthy["gan_lightning"]["nimg"] == 320  # of the look at the end, after going back to 288
    assert same(last["state_dict"], healthy["state_dict"]) and same(moments(last), moments(healthy))
    assert {int(value) for (_, _, name), value in moments(last).items() if name == "step"} == {18}


def test_what_follows_a_rollback_is_training_on(train, tmp_path, broken_at, monkeypatch):
    """The same as a resumed run from that state, with these learning rates, at this place of the clock."""
    run = tmp_path / "run"
    broken_at(12)
    settings = [*BROKEN, "callbacks.losses.every_kimg=0.016", "callbacks.checkpoint.keep_every_kimg=0.016"]
    module = train(*settings, "callbacks.checkpoint.every_kimg=0.016", "max_kimg=0.32", run_dir=run)
    after = read_checkpoint(run / "checkpoints" / "kimg_000000.208.ckpt")  # saved after going back at 0.208
    before = read_checkpoint(run / "checkpoints" / "kimg_000000.192.ckpt")
    assert same(after["state_dict"], before["state_dict"]) and same(moments(after), moments(before))
    again = train(*settings, "max_kimg=0.32", f"ckpt_path={run / 'checkpoints' / 'kimg_000000.208.ckpt'}")
    assert same(module.state_dict(), again.state_dict()) and again.lr_scale == 0.5


def test_rollbacks_come_to_an_end(train, tmp_path, broken_at, caplog):
    broken_at(*range(8, 100))
    with pytest.raises(TrainingDiverged, match=r"diverged: d/adv became nan in generator step 10, after 2 rollbacks "
                                               r"\(callbacks.watchdog.max_rollbacks\); the last good checkpoint"):
        train(*BROKEN, "max_kimg=1", "callbacks.watchdog.max_rollbacks=2", run_dir=tmp_path / "run")
    assert [line.partition("learning rates ")[2] for line in said(caplog)] == [
        "times 0.5 from now on (rollback 1 of 2)", "times 0.25 from now on (rollback 2 of 2)"]


def test_rollback_needs_something_to_go_back_to(train, broken_at):
    broken_at(0)
    with pytest.raises(TrainingDiverged, match="d/adv became nan in generator step 0; no checkpoint had been written"):
        train(*BROKEN, "max_kimg=1")


def test_rollback_from_a_collapse(train, tmp_path, caplog, monkeypatch):
    """G is well for a while, then deaf: the state that is gone back to is from before."""
    original = Generation.generate

    def generate(self, batch, g):
        if len(heard) > 10:
            batch = batch | {"z": torch.zeros(len(batch.get("z", batch.get("real"))), g.z_dim)}
        return original(self, batch, g)

    heard = []
    after = Generation.after_d_step
    monkeypatch.setattr(Generation, "generate", generate)
    monkeypatch.setattr(Generation, "after_d_step", lambda self: (heard.append(0), after(self)))
    with pytest.raises(TrainingDiverged, match="collapse: fakes differ from each other 0 times .*, after 2 rollbacks"):
        train(*ROLLBACK, "max_kimg=1", "callbacks.watchdog.max_rollbacks=2", "callbacks.watchdog.collapse_below=0.02",
              "callbacks.watchdog.won_above=2", run_dir=tmp_path / "run")
    assert [line.split(";")[1][:37] for line in said(caplog)] == [" back to the weights of 0.16 kimg, le"] * 2


def test_two_alarms_at_a_look_are_one_rollback(train, tmp_path, caplog, monkeypatch):
    settings = [*ROLLBACK, "callbacks.watchdog.won_above=0", "callbacks.watchdog.collapse_below=9", "max_kimg=0.032"]
    module = train(*settings, "callbacks.checkpoint.every_kimg=0.016", run_dir=tmp_path / "run")
    assert len(said(caplog)) == 1 and module.lr_scale == 0.5


def test_without_alarms_rollback_changes_no_weight(train):
    quiet, watched = train("model=mlp", "max_kimg=0.32"), train(*BROKEN, "max_kimg=0.32")
    assert same(quiet.state_dict(), watched.state_dict())


@pytest.mark.slow
def test_two_processes_go_back_together(tmp_path):
    """Only the second process's loss breaks; both notice, both go back, and their weights stay the same."""
    (tmp_path / "breaking.py").write_text(
        "import os, torch\nfrom gan_lightning.tasks.generation import Generation\n\n\nclass Breaking(Generation):\n"
        "    def d_loss(self, batch, clock):\n"
        "        bad = clock.step == 7 and os.environ.get('LOCAL_RANK') == '1'\n"
        "        return {k: v * (float('nan') if bad else 1) for k, v in super().d_loss(batch, clock).items()}\n\n"
        "    def g_loss(self, batch, clock):\n"
        "        if clock.step == 19:\n"
        "            torch.save(self.state_dict(), f\"weights{os.environ.get('LOCAL_RANK', 0)}.pt\")\n"
        "        return super().g_loss(batch, clock)\n")
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *BROKEN, "task._target_=breaking.Breaking", "data.batch_size=8",
         "max_kimg=0.32", "trainer.accelerator=cpu", "trainer.devices=2", "logger=none", "hydra.run.dir=run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("d/adv became nan in generator step 7; back to the weights of") == 1
    ours, theirs = (torch.load(tmp_path / f"weights{rank}.pt") for rank in (0, 1))
    assert same(ours, theirs) and all(value.isfinite().all() for value in ours.values())
    state = read_checkpoint(tmp_path / "run")["gan_lightning"]
    assert (state["steps"], state["lr_scale"]) == (20, 0.5)


# Whole runs

RUNS = ["callbacks.progress=null", "callbacks.samples=null", "callbacks.curves=null", "callbacks.checkpoint=null",
        "data.batch_size=64"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [["max_kimg=40"], ["loss=rpgan", "model=mlp", "max_kimg=150"],
                                      ["data=gaussians_ring", "model=toy2d", "loss=rpgan", "max_kimg=150"]])
def test_nothing_is_said_of_healthy_runs(train, caplog, settings):
    train("callbacks=default", *RUNS, *settings, "callbacks.watchdog.settle_steps=200")
    assert not said(caplog)


@pytest.mark.slow
@pytest.mark.parametrize("settings, words", [
    (["optim.d.lr=0.01", "optim.g.lr=1e-6"], "discriminator has won"),
    (["optim.d.lr=10", "optim.g.lr=10"], "diverged"),
])
def test_what_is_said_of_broken_runs(train, caplog, settings, words):
    train("model=mlp", "callbacks=default", *RUNS, *settings, "max_kimg=60")
    assert any(words in line for line in said(caplog))


@pytest.mark.slow
def test_a_deaf_generator_is_a_collapse(train, caplog, deaf):
    train("model=mlp", "loss=hinge", "callbacks=default", *RUNS, deaf, "max_kimg=60")
    assert any("collapse" in line for line in said(caplog))


@pytest.mark.parametrize("settings, message", [
    ({"on_alarm": "panic"}, "callbacks.watchdog.on_alarm=panic: must be warn, stop or rollback"),
    ({"lr_factor": 0.0}, "callbacks.watchdog.lr_factor=0.0: must be above 0 and at most 1"),
    ({"max_rollbacks": -1}, "callbacks.watchdog.max_rollbacks=-1: must be at least 0"),
    ({"n": 1}, "callbacks.watchdog.n=1: must be at least 2"),
    ({"patience": 0}, "callbacks.watchdog.patience=0: must be at least 1"),
    ({"every_kimg": 0}, "every_kimg=0 of Watchdog: must be above 0"),
])
def test_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Watchdog(**settings)


def test_refused_on_the_command_line(train):
    with pytest.raises((ConfigError, InstantiationException), match="panic|Watchdog"):
        train(*WATCHED, "callbacks.watchdog.on_alarm=panic", "max_kimg=0.016")
