"""Whole runs on streamed sets: scores, the watchdog, and resuming."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.config.check import check
from gan_lightning.errors import ConfigError

COUNTS = [40, 9, 25, 1, 30]                             # 105 images; a run below sees 320


@pytest.fixture
def settings(by_hand, tmp_path):
    by_hand.make_shards(tmp_path / "shards", COUNTS)
    return ["model=mlp", "data=webdataset", f"data.root={tmp_path / 'shards'}", "data.resolution=8", "data.channels=1",
            "data.num_classes=105", "model.conditional=true", "data.hflip=true", "data.shards_at_once=3", "data.shuffle=20",
            "data.reference_images=64", "loss.n_critic=2", "callbacks=default", "callbacks.samples=null",
            "callbacks.curves=null", "callbacks.watchdog.every_kimg=0.1"]


def weights(run) -> dict[str, torch.Tensor]:
    return read_checkpoint(run)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_resume_is_exact(train, tmp_path, settings):
    """Stopped within a shard and an epoch, with other numbers of workers before and after."""
    train(*settings, "data.workers=0", "max_kimg=0.32", run_dir=tmp_path / "whole")
    known, parts = weights(tmp_path / "whole"), tmp_path / "parts"
    for workers, kimg in ((2, 0.064), (0, 0.16), (2, 0.32)):
        more = ["ckpt_path=last"] if parts.exists() else []
        train(*settings, f"data.workers={workers}", f"max_kimg={kimg}", *more, run_dir=parts)
        assert same(known, weights(parts)) == (kimg == 0.32)


def test_scores_and_watchdog_look_at_the_reference(train, tmp_path, settings):
    scored = train(*settings, "data.workers=0", "max_kimg=0.16", "metrics=random_conv", "metrics.num_fake=48",
                   run_dir=tmp_path / "a")
    train(*settings, "data.workers=0", "max_kimg=0.16", "callbacks.watchdog=null", run_dir=tmp_path / "b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))           # looking changes nothing
    rows = {name: value for row in scored.journal.rows for name, value in row.items()}
    assert rows["metrics/fd_random_conv"] > 0 and "health/diversity" in rows
    best = read_checkpoint(tmp_path / "a")["callbacks"]["Scores"]["best"]["scores"]["fd_random_conv"]
    assert best["fingerprint"]["num_real"] == 64


def test_another_order_after_a_resume_is_told(train, tmp_path, settings, capsys):
    first = tmp_path / "first"
    train(*settings, "data.workers=0", "max_kimg=0.064", run_dir=first)
    train(*settings, "data.workers=2", "max_kimg=0.128", "ckpt_path=last", run_dir=first)
    assert "another order" not in capsys.readouterr().out
    module = train(*settings, "data.workers=0", "max_kimg=0.2", "data.batch_size=8", "data.shuffle=30", "ckpt_path=last",
                   run_dir=first)
    out = capsys.readouterr().out
    assert "data.batch_size was 16, is 8; data.shuffle was 20, is 30: images come in another order from here on" in out
    assert module.nimg == 208


def test_runs_on_huggingface(train, by_hand, tmp_path):
    """The same shards, read by another library: other order, and resumed just as exactly."""
    by_hand.make_shards(tmp_path / "shards", [40, 9, 25])
    common = ["model=mlp", "data=huggingface", f"data.path={tmp_path / 'shards'}", "data.resolution=8", "data.channels=1",
              "data.workers=0", "data.reference_images=16", "callbacks=default", "callbacks.samples=null",
              "callbacks.curves=null", "callbacks.watchdog=null"]
    train(*common, "max_kimg=0.16", run_dir=tmp_path / "whole")
    train(*common, "max_kimg=0.08", run_dir=tmp_path / "parts")
    train(*common, "max_kimg=0.16", "ckpt_path=last", run_dir=tmp_path / "parts")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_the_packages_are_imported_for_their_sets_only():
    modules = ["training", *(f"data.{name}" for name in ("digits", "folder", "streamed", "webdataset", "huggingface"))]
    program = (f"import sys, {', '.join(f'gan_lightning.{name}' for name in modules)}; "
               "print([name for name in ('webdataset', 'datasets', 'pyarrow') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("data, option", [("webdataset", "root"), ("huggingface", "path")])
def test_settings(config, data, option):
    check(config(f"data={data}", f"data.{option}=x"))
    with pytest.raises(ConfigError, match=f"data.{option} is required: data.{option}=PATH"):
        check(config(f"data={data}"))
    for wrong in ("memory_gb=1", "device=gpu"):         # what is never held has neither
        with pytest.raises(ConfigError, match=f"no setting 'data.{wrong.partition('=')[0]}'"):
            check(config(f"data={data}", f"data.{option}=x", f"+data.{wrong}"))
