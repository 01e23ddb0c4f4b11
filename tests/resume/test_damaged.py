"""A newest checkpoint that is not whole is stood in for by the one before it, and the run says so."""

import os
import shutil

import pytest
import torch

from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.errors import CheckpointError

SETTINGS = ["model=mlp", "callbacks=default", "callbacks.watchdog=null", "callbacks.samples=null", "callbacks.curves=null",
            "callbacks.checkpoint.every_kimg=0.08", "callbacks.checkpoint.keep_every_kimg=0.16"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def empty(path):
    path.write_bytes(b"")


def scratch(path):
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])


@pytest.fixture
def run(train, tmp_path):
    """At 0.4 kimg, with previous.ckpt of 0.32, kept ones of 0.16 and 0.32; and its copy, still whole."""
    run = tmp_path / "run"
    train(*SETTINGS, "max_kimg=0.4", run_dir=run)
    shutil.copytree(run, tmp_path / "whole")
    return run


def own_file(path):
    """Cuts the tie between a file and other names of it."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, empty, scratch, os.remove])
@pytest.mark.parametrize("named", [False, True])
def test_the_one_before_stands_in(train, run, tmp_path, capsys, damage, named):
    """The run comes to what it would have come to: it only has to do some of it again."""
    last = run / "checkpoints" / "last.ckpt"
    damage(last)
    module = train(*SETTINGS, "max_kimg=0.48", f"ckpt_path={run if named else 'last'}", run_dir=run)
    said = f"{last} is damaged, or was cut short: previous.ckpt is taken instead (0.32 kimg)"
    output = capsys.readouterr().out
    assert (said in output) == (damage is not os.remove) and "going on from" in output
    assert module.steps == 30
    other = train(*SETTINGS, "max_kimg=0.48", "ckpt_path=last", run_dir=tmp_path / "whole")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in module.state_dict().items())


def test_the_damaged_one_does_not_become_the_previous_one(train, run, monkeypatch):
    """`last` points at a whole file as soon as the run begins, and stays in the rank of the one that stood in."""
    from gan_lightning import training

    cut(run / "checkpoints" / "last.ckpt")

    def fit(trainer, *_, **__):
        raise KeyError("not trained")

    monkeypatch.setattr(training.L.Trainer, "fit", fit)
    with pytest.raises(KeyError):
        train(*SETTINGS, "max_kimg=0.48", "ckpt_path=last", run_dir=run)
    nimg = {name: read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["gan_lightning"]["nimg"] for name in ("last", "previous")}
    assert nimg == {"last": 320, "previous": 320}


def test_then_the_newest_that_was_kept(train, run, capsys):
    folder = run / "checkpoints"
    for name in ("previous", "kimg_000000.320"):
        own_file(folder / f"{name}.ckpt")
    for name in ("last", "previous"):
        cut(folder / f"{name}.ckpt")
    train(*SETTINGS, "max_kimg=0.4", "ckpt_path=last", run_dir=run)
    assert "kimg_000000.320.ckpt is taken instead (0.32 kimg)" in capsys.readouterr().out


def test_none_is_whole(train, run):
    for path in (run / "checkpoints").glob("*.ckpt"):
        empty(path)
    with pytest.raises(CheckpointError, match=r"run: none of its checkpoints is whole \(last.ckpt, previous.ckpt, kimg_"):
        train(*SETTINGS, "max_kimg=0.4", "ckpt_path=last", run_dir=run)


def test_a_file_that_is_named_is_that_file(train, run):
    cut(run / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match="last.ckpt: not a whole checkpoint .*the one before it is .*previous.ckpt"):
        train(*SETTINGS, "max_kimg=0.4", f"ckpt_path={run / 'checkpoints' / 'last.ckpt'}", run_dir=run)


def test_a_file_of_another_program_is_not_stood_in_for(train, run):
    torch.save({"state_dict": {}}, run / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match="last.ckpt: not a checkpoint of gan_lightning"):
        train(*SETTINGS, "max_kimg=0.4", "ckpt_path=last", run_dir=run)


def test_a_checkpoint_is_read_once(train, run, monkeypatch):
    from gan_lightning import checkpoint

    read, original = [], torch.load
    monkeypatch.setattr(checkpoint.torch, "load", lambda path, **options: read.append(path) or original(path, **options))
    module = train(*SETTINGS, "max_kimg=0.48", "ckpt_path=last", run_dir=run)
    assert read == [run / "checkpoints" / "last.ckpt"] and module.steps == 30


@pytest.mark.slow
def test_processes_that_go_on_from_different_checkpoints_say_so(runs):
    """On machines that see different folders, say: here the second process finds nothing."""
    two = [*("data=gaussians_ring", "model=toy2d", "data.batch_size=8", "callbacks.samples=null", "metrics=none"),
           "trainer.accelerator=cpu", "trainer.devices=2"]
    assert runs("run", *two, "max_kimg=0.08", processes=2)["codes"] == [0, 0]
    (runs / "run" / "summary.json").unlink()
    ended = runs("run", *two, "max_kimg=0.16", processes=2, limit=40, patch=["another_folder", 1])
    assert ended["codes"][0] == 1 and "process 0 goes on from" in ended["output"] and "process 1 from None" in ended["output"]
