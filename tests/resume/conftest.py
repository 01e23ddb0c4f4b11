"""Real runs that are ended in every way there is, cheaply, and what is compared of them afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.checkpoint import read_checkpoint

HERE = Path(__file__).parent
QUIET = ["callbacks.progress=null", "callbacks.watchdog=null", "callbacks.curves=null"]


class Runs:
    """Runs of `train.py` in `folder`; see `zygote.py` for how they can be ended.

    There are 37 images of noise in `photos`, so that no epoch ends with a batch.
    """

    def __init__(self, zygote: subprocess.Popen, folder: Path):
        self.zygote, self.folder = zygote, folder
        (folder / "photos").mkdir()
        for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (37, 8, 8), dtype=np.uint8)):
            Image.fromarray(image).save(folder / "photos" / f"{i}.png")

    def __call__(self, name: str, *settings: str, **ending) -> dict:
        """Runs in the directory `name`, going on with what is there: how it ended, and the output of all processes."""
        argv = [*QUIET, *settings, "ckpt_path=last", f"hydra.run.dir={name}"]
        request = {"argv": argv, "cwd": str(self.folder)} | ending
        self.zygote.stdin.write(json.dumps(request) + "\n")
        self.zygote.stdin.flush()
        ended = json.loads(self.zygote.stdout.readline())
        return ended | {"code": ended["codes"][0]}

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def differences(self, one: str, other: str) -> list[str]:
        return differences(self / one, self / other)


@pytest.fixture(scope="session")
def zygote():
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    process = subprocess.Popen([sys.executable, HERE / "zygote.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, env=environment)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(10)


@pytest.fixture
def runs(zygote, tmp_path):
    return Runs(zygote, tmp_path)


@pytest.fixture(scope="module")
def module_runs(zygote, tmp_path_factory):
    return Runs(zygote, tmp_path_factory.mktemp("runs"))


def differences(a: Path, b: Path) -> list[str]:
    """Where two finished runs differ in what they came to: weights, averages, moments, rows, pictures, the best."""
    found = []
    for name in sorted({path.relative_to(run) for run in (a, b) for path in run.rglob("*.ckpt")}):
        if name.name == "previous.ckpt":  # of the last interval, which an interruption may have cut in two
            continue
        one, other = (read_checkpoint(run / name) if (run / name).exists() else {} for run in (a, b))
        found += [f"{name}: {path}" for path in _compare(_timeless(one), _timeless(other))]
    files = sorted({path.relative_to(run) for run in (a, b) for path in run.rglob("*.png")} | {Path("metrics.csv")})
    for name in files:
        one, other = ((run / name).read_bytes() if (run / name).exists() else None for run in (a, b))
        if one != other:
            found.append(str(name))
    one, other = (json.loads((run / "summary.json").read_text()) for run in (a, b))
    return found + [f"summary: {name}" for name in ("ended", "kimg", "g_steps", "last", "best") if one[name] != other[name]]


def _timeless(content: dict) -> dict:
    """Without the time it took, the paths of the run, and Lightning's progress, whose restarts are counted."""
    return {name: _timeless(value) if isinstance(value, dict) else value for name, value in content.items()
            if name not in ("loops", "config", "epoch", "seconds")}


def _compare(a, b, path: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [line for name in dict.fromkeys([*a, *b])
                for line in _compare(a.get(name), b.get(name), f"{path}/{name}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for i, pair in enumerate(zip(a, b, strict=True)) for line in _compare(*pair, f"{path}/{i}")]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else type(a) is type(b) and a == b
    return [] if same else [path]
