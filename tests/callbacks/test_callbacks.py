"""When callbacks act, and what they leave behind."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.callbacks.curves import draw_curves
from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.errors import ConfigError


def test_multiples_of_every_kimg_are_crossed_once(train):
    module = train("model=mlp", "max_kimg=0.016")
    seen = []
    for before, now in zip(range(0, 1000, 48), range(48, 1048, 48), strict=True):
        module.nimg_before, module.nimg = before, now
        if module.crossed(0.1):
            seen.append(now)
    assert seen == [144, 240, 336, 432, 528, 624, 720, 816, 912, 1008]  # the first at or past each 100


def test_every_kimg_must_be_positive():
    with pytest.raises(ConfigError, match="every_kimg=0 of EveryKimg: must be above 0"):
        EveryKimg(0)


@pytest.fixture
def run(train, tmp_path):
    run = tmp_path / "run"
    module = train("model=mlp", "callbacks=default", "callbacks.samples.every_kimg=0.1", "callbacks.samples.n=30",
                   "callbacks.losses.every_kimg=0.05", "callbacks.watchdog=null", "callbacks.checkpoint.every_kimg=0.1", "max_kimg=0.32",
                   "callbacks.checkpoint.keep_every_kimg=0.2", "logger=csv", f"logger.csv.path={run}/metrics.csv",
                   run_dir=run)
    return run, module


def test_run_directory(run):
    run, module = run
    found = sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())
    # 16 images a step: multiples of 100 are first reached at 112, 208 and 304, those of 50 at 64, 112, 160 ...
    assert found == [
        "checkpoints/kimg_000000.208.ckpt", "checkpoints/last.ckpt", "checkpoints/previous.ckpt", "config.yaml",
        "curves.png", "metrics.csv", "samples/kimg_000000.000.png", "samples/kimg_000000.112.png",
        "samples/kimg_000000.208.png", "samples/kimg_000000.304.png", "samples/kimg_000000.320.png", "summary.json",
    ]
    with open(run / "metrics.csv", newline="") as file:
        assert [row["kimg"] for row in csv.DictReader(file)] == ["0.064", "0.112", "0.16", "0.208", "0.256", "0.304", "0.32"]
    steps = {name: read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["gan_lightning"]["steps"]
             for name in ("last", "previous", "kimg_000000.208")}
    assert steps == {"last": 20, "previous": 19, "kimg_000000.208": 13}


def test_summary(run):
    run, module = run
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["kimg"], summary["g_steps"], summary["d_steps"]) == (0.32, 20, 20)
    assert summary["g_parameters"] == sum(p.numel() for p in module.task.g.parameters())
    assert summary["last"]["d/loss"] == module.journal.rows[-1]["d/loss"]
    # A build's local version (+cpu) is not in all packages' metadata.
    assert summary["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert summary["wall_seconds"] > 0 and summary["images_per_second"] > 0


def test_the_picture_is_of_the_averaged_generator(run):
    from gan_lightning import load
    from gan_lightning.pictures import picture

    run, module = run
    expected = picture(load(run).sample(30, seed=0))
    assert np.array_equal(np.asarray(Image.open(run / "samples" / "kimg_000000.320.png")), expected)


def test_classes_in_columns(train, tmp_path):
    train("model=mlp", "model.conditional=true", "callbacks=default", "callbacks.samples.n=25", "max_kimg=0.016",
          run_dir=tmp_path / "run")
    picture = Image.open(tmp_path / "run" / "samples" / "kimg_000000.016.png")
    assert picture.size == (10 * 33 + 1, 2 * 33 + 1)  # ten classes, as many rows as are full


def test_curves_draw_what_they_are_given():
    rows = [{"kimg": float(k), "d/adv": 1.0, "g/adv": float(k), "metrics/fid": 9.0 - k} for k in range(5)]
    one, two = (Image.open(io.BytesIO(draw_curves(r))) for r in
                ([{k: v for k, v in row.items() if k != "metrics/fid"} for row in rows], rows))
    assert two.width > one.width  # a panel more
