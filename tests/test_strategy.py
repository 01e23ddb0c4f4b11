"""Many devices play one game."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lightning.build import build_module
from gan_lightning.checkpoint import read_checkpoint

ROOT = Path(__file__).parent.parent
GAME = '''
import os

import torch

from gan_lightning.tasks.generation import Generation


class FixedLatents(Generation):
    """z as a function of the real image, so that it does not depend on who draws it. Notes each step's seed."""

    def generate(self, batch, g):
        real = batch["real"].flatten(1)
        z = torch.stack([torch.sin(real.sum(1) * k) for k in range(1, g.z_dim + 1)], 1)
        return super().generate(batch | {"z": z}, g)

    def g_loss(self, batch, clock):
        with open(f"seeds{os.environ.get('LOCAL_RANK', 0)}.txt", "a") as file:
            file.write(f"{torch.initial_seed()}\\n")
        return super().g_loss(batch, clock)
'''


@pytest.mark.slow
@pytest.mark.parametrize("settings", [
    ["loss=rpgan", "loss.n_critic=2"],
    ["loss=non_saturating", "term=[drift]", "optim.d_clip=0.1"],
], ids=["rpgan", "non_saturating"])
def test_two_processes_equal_the_large_batch(train, config, tmp_path, monkeypatch, settings):
    """In float64 and with latents that follow the images, two halves of a batch move the weights as the whole does.

    Batches are the same sets of images: the stream's order does not depend on how many processes share it.
    """
    settings = ["model=mlp", "data=digits", "task._target_=fixed_latents.FixedLatents", "trainer.precision=64-true",
                "trainer.accelerator=cpu", "max_kimg=0.256", *settings]
    (tmp_path / "fixed_latents.py").write_text(GAME)
    quiet = [f"callbacks.{name}=null" for name in ("progress", "losses", "samples", "curves")]
    command = [sys.executable, ROOT / "train.py", *settings, *quiet, "data.batch_size=8", "trainer.devices=2", "metrics=none", "callbacks.watchdog=null",
               "logger=none", f"hydra.run.dir={tmp_path / 'two'}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    two = read_checkpoint(tmp_path / "two")

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fixed_latents", raising=False)
    drawn = [(tmp_path / f"seeds{rank}.txt").read_text().split() for rank in (0, 1)]
    one = train(*settings, "data.batch_size=16")
    start = build_module(config(*settings, "data.batch_size=16"))

    assert two["gan_lightning"]["steps"] == one.steps and two["gan_lightning"]["nimg"] == one.nimg == 256
    mine, theirs, first = one.state_dict(), two["state_dict"], start.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.allclose(value, theirs[name], rtol=0, atol=1e-12), name
    for player in ("task.g.", "task.d."):
        assert max((mine[k] - first[k]).abs().max() for k in mine if k.startswith(player)) > 1e-4
    # What is random, which latents are in any other game, differs between processes and between steps.
    assert len(drawn[0]) == len(drawn[1]) == one.steps
    assert len({*drawn[0], *drawn[1]}) == 2 * one.steps
