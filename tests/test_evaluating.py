"""evaluate.py, and scores during training: one evaluation, the same numbers."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.checkpoint import read_checkpoint

ROOT = Path(__file__).parent.parent
SMALL = ["model=mlp", "model.conditional=false", "max_kimg=1.6", "data.batch_size=32", "metrics=random_conv",
         "metrics.num_fake=150", "metrics.every_kimg=0.5",
         *[f"callbacks.{name}=null" for name in ("curves", "samples", "watchdog", "progress")]]


def program(name, *arguments, cwd, fails=False):
    done = subprocess.run([sys.executable, ROOT / name, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          timeout=300)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_evaluate_gives_what_training_gave(tmp_path):
    """The last row of metrics.csv, summary.json and evaluation.json agree to the last digit; best is the best row."""
    program("train.py", *SMALL, "hydra.run.dir=run", cwd=tmp_path)
    with open(tmp_path / "run/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row.get("metrics/fd_random_conv")]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    text = program("evaluate.py", "ckpt=run", cwd=tmp_path)
    evaluation = json.loads((tmp_path / "run/evaluation.json").read_text())

    assert [float(row["kimg"]) for row in rows] == [0.0, 0.512, 1.024, 1.504, 1.6]
    assert len(evaluation["scores"]) >= 8
    for name, scored in evaluation["scores"].items():
        assert float(rows[-1][f"metrics/{name}"]) == pytest.approx(scored["value"], rel=1e-12), name
        assert summary["scores"]["scores"][name] == scored
    best = min(rows, key=lambda row: float(row["metrics/fd_random_conv"]))
    assert summary["best"]["kimg"] == float(best["kimg"])
    assert summary["best"]["value"] == pytest.approx(float(best["metrics/fd_random_conv"]))
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/best.ckpt")
    assert checkpoint["gan_lightning"]["nimg"] == 1000 * summary["best"]["kimg"]
    assert "fd_random_conv" in text and "NOT FID" in text and summary["scores"]["scores"]["fd_random_conv"]["id"] in text

    both = program("evaluate.py", "ckpt=[run,run/checkpoints/best.ckpt]", "out=both.json", cwd=tmp_path)
    assert json.loads((tmp_path / "both.json").read_text())["run"]["scores"] == evaluation["scores"]
    assert "run/checkpoints/best.ckpt" in both
    other = program("evaluate.py", "ckpt=run", "data=digits", "data.resolution=16", cwd=tmp_path, fails=True)
    assert "data.resolution=16: the generator of run was trained with 8; choose data.resolution=8" in other
    more = program("evaluate.py", "ckpt=run", "num_fake=200", "seed=1", "out=more.json", cwd=tmp_path)
    assert "200 samples (seed 1)" in more
    assert json.loads((tmp_path / "more.json").read_text())["scores"]["fd_random_conv"]["fingerprint"]["num_fake"] == 200


@pytest.mark.slow
def test_how_samples_are_drawn_is_chosen_and_told(tmp_path):
    """Random noise between layers, as in training's scores, unless another is chosen; standing statistics."""
    program("train.py", *SMALL, "model=fastgan", "model.width=4", "data.resolution=32",
            "max_kimg=0.064", "hydra.run.dir=run", cwd=tmp_path)
    trained = json.loads((tmp_path / "run/summary.json").read_text())["scores"]["scores"]["fd_random_conv"]

    def evaluated(*settings):
        program("evaluate.py", "ckpt=run", "out=out.json", *settings, cwd=tmp_path)
        return json.loads((tmp_path / "out.json").read_text())["scores"]["fd_random_conv"]

    assert evaluated() == trained and trained["fingerprint"]["generator"]["noise"] == "random"
    constant, standing = evaluated("noise=const"), evaluated("standing=2")
    assert constant["fingerprint"]["generator"] == trained["fingerprint"]["generator"] | {"noise": "const"}
    assert standing["fingerprint"]["generator"] == trained["fingerprint"]["generator"] | {"batch_norm": "standing 2"}
    assert len({scored["id"] for scored in (trained, constant, standing)}) == 3
    assert standing["value"] != trained["value"]
    other = program("evaluate.py", "ckpt=run", "psi=0.5", cwd=tmp_path, fails=True)
    assert "psi=0.5: this generator has no styles to move" in other


@pytest.mark.slow
def test_metrics_change_no_weight(train, tmp_path):
    """With metrics (trained classifier, all scores), without, and with other ones: the same weights, bit for bit."""
    settings = ["model=dcgan", "max_kimg=0.8", "callbacks=none"]
    runs = [train(*settings, *metrics) for metrics in (
        ["metrics=none"], ["metrics=classifier", "metrics.num_fake=64", "metrics.every_kimg=0.2"],
        ["metrics=random_conv", "metrics.num_fake=50", "metrics.every_kimg=0.1"])]
    for other in runs[1:]:
        for (name, mine), theirs in zip(runs[0].state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(mine, theirs), name
    assert any("metrics/fd_classifier" in row for row in runs[1].journal.rows)


@pytest.mark.slow
def test_the_best_survives_a_resume(tmp_path):
    program("train.py", *SMALL, "hydra.run.dir=whole", cwd=tmp_path)
    program("train.py", *SMALL, "max_kimg=0.8", "hydra.run.dir=parts", cwd=tmp_path)
    program("train.py", *SMALL, "hydra.run.dir=parts", "ckpt_path=last", cwd=tmp_path)
    whole, parts = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "parts"))
    assert parts["scores"]["scores"] == whole["scores"]["scores"]
    assert parts["best"]["value"] <= whole["best"]["value"]  # one more look, where the first part ended
    program("train.py", *SMALL, "max_kimg=2", "hydra.run.dir=elsewhere", "ckpt_path=parts", cwd=tmp_path)
    elsewhere = json.loads((tmp_path / "elsewhere/summary.json").read_text())
    kept = read_checkpoint(tmp_path / "elsewhere/checkpoints/best.ckpt")
    assert kept["gan_lightning"]["nimg"] == 1000 * elsewhere["best"]["kimg"]
    assert elsewhere["best"]["value"] <= parts["best"]["value"]
    changed = program("train.py", *SMALL, "max_kimg=2.4", "metrics.num_fake=100", "hydra.run.dir=parts", "ckpt_path=last",
                      cwd=tmp_path)
    assert "is measured differently than before the resume" in changed


@pytest.mark.slow
def test_two_devices_find_what_one_finds(tmp_path):
    """After no step at all: scores of the first weights, which do not depend on the number of devices."""
    found = []
    for devices in (1, 2):
        program("train.py", *SMALL, f"hydra.run.dir=run{devices}", f"trainer.devices={devices}", "trainer.accelerator=cpu",
                f"data.batch_size={32 // devices}", cwd=tmp_path)
        with open(tmp_path / f"run{devices}/metrics.csv") as file:
            found.append([row for row in csv.DictReader(file) if row.get("metrics/fd_random_conv")])
    one, two = found
    assert [row["kimg"] for row in one] == [row["kimg"] for row in two]
    scores = [name for name in one[0] if name.startswith("metrics/")]
    assert len(scores) >= 8
    for name in scores:
        assert float(two[0][name]) == pytest.approx(float(one[0][name]), rel=1e-9), name


def folder_of(path, images):
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(np.asarray(image, dtype=np.uint8)).save(path / f"{i:03}.png")
    return path.name


@pytest.mark.slow
def test_two_folders(tmp_path):
    random = np.random.default_rng(0)
    real, same = (folder_of(tmp_path / name, random.integers(0, 256, (60, 16, 16))) for name in ("real", "same"))
    dark = folder_of(tmp_path / "dark", random.integers(0, 128, (50, 16, 16)))
    values = {}
    for fake in (same, dark):
        text = program("evaluate.py", f"fake={fake}", f"real={real}", "metrics=random_conv", cwd=tmp_path)
        values[fake] = json.loads((tmp_path / "evaluation.json").read_text())["scores"]["fd_random_conv"]
        assert f"{60 if fake == same else 50} images against 60 reals" in text
    assert values["dark"]["value"] > 10 * values["same"]["value"] and values["same"]["value"] < 5 * values["same"]["reals"]
    large = folder_of(tmp_path / "large", random.integers(0, 256, (20, 20, 20)))
    assert "16 x 16" in program("evaluate.py", f"fake={large}", f"real={real}", cwd=tmp_path, fails=True)


@pytest.mark.slow
def test_the_data_doctor(tmp_path):
    text = program("evaluate.py", "data=digits", cwd=tmp_path)
    assert "1,797 images" in text and "10 classes" in text and "fd_classifier" in text
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert 0 < content["scores"]["fd_classifier"]["value"] < 5
    assert content["scores"]["cs_classifier"]["value"] > 8


@pytest.mark.parametrize("arguments, message", [
    ([], "nothing to evaluate: give ckpt=RUN"),
    (["ckpt=run", "fake=a", "real=b"], "ckpt and fake are both given"),
    (["fake=a"], "fake=a needs reals"),
    (["real=a", "data=digits"], "real=a: goes with fake"),
    (["fake=nowhere", "real=nowhere"], "fake=nowhere does not exist"),
    (["ckpt=nowhere"], "nowhere: no such checkpoint"),
    (["ckpt=run", "metrics.scores.kernel=null"], "metrics.scores.kernel=null: changes which metrics?"),
    (["data=digits", "device=cuda:7"], "device=cuda:7"),
    (["fake=a", "data=digits", "metrics=none"], "metrics=none"),
    (["data=digits", "metrics.extractor.min_acuracy=1"], "did you mean 'metrics.extractor.min_accuracy'"),
    (["data=gaussians_ring", "metrics=random_conv"], "points"),
    (["fake=a", "real=b", "psi=0.5"], "psi=0.5: says how samples are drawn, and goes with ckpt=RUN"),
    (["data=digits", "standing=2"], "standing=2: says how samples are drawn"),
    (["data=digits", "metrics=mixture"], "metrics=mixture"),
])
def test_mistakes_are_one_line(tmp_path, arguments, message):
    text = program("evaluate.py", *arguments, cwd=tmp_path, fails=True)
    assert text.startswith("error: ") and message in text and len(text.splitlines()) == 1
