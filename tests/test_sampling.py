"""Samples from checkpoints: the same ones, however they are asked for, and with nothing but torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import gan_lightning
from gan_lightning import sample_files, sampling
from gan_lightning.config.schema import SampleConfig
from gan_lightning.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An unconditional DCGAN with batch norm, a conditional MLP, and points."""
    folder = tmp_path_factory.mktemp("runs")
    for name, settings in {
        "dcgan": ["model=dcgan", "model.width=8", "model.conditional=false"],
        "labels": ["model=mlp", "model.conditional=true"],
        "points": ["model=toy2d", "data=gaussians_ring", "data.n=500"],
    }.items():
        command = [sys.executable, ROOT / "train.py", *settings, "max_kimg=0.5", "data.batch_size=16", "metrics=none",
                   "optim.g.lr=1e-3", f"hydra.run.dir={folder / name}", "callbacks.samples=null"]
        subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return folder


def test_shape_range_and_mode(runs):
    gan = gan_lightning.load(runs / "dcgan")
    samples = gan.sample(5, seed=1)
    assert samples.shape == (5, 1, 8, 8) and samples.dtype == torch.float32
    assert samples.abs().max() <= 1 and samples.std() > 0.05
    assert not gan.network.training


def test_halves_equal_the_whole(runs):
    gan = gan_lightning.load(runs / "dcgan")
    whole = gan.sample(70, seed=3)
    assert torch.equal(whole, torch.cat([gan.sample(35, seed=3), gan.sample(35, seed=3, start=35)]))
    assert torch.equal(whole[41:43], gan.sample(2, seed=3, start=41))
    assert not torch.equal(whole, gan.sample(70, seed=4))
    assert torch.allclose(whole, gan.sample(70, seed=3, batch_size=7), atol=1e-5)
    assert len(gan.sample(0)) == 0


def test_sampling_leaves_the_network_in_its_mode_and_the_generator_alone(runs):
    gan = gan_lightning.load(runs / "dcgan")
    gan.network.train()
    state = torch.get_rng_state()
    statistics = [b.clone() for b in gan.network.buffers()]
    gan.sample(3)
    assert gan.network.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(statistics, gan.network.buffers(), strict=True))


def test_loading_leaves_the_callers_generator_alone(runs):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = gan_lightning.load(runs / "dcgan").sample(2)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(6)
    again = gan_lightning.load(runs / "dcgan").sample(2)
    assert torch.equal(first, again)  # nothing of the first weights is left


@pytest.mark.parametrize("run", ["dcgan", "labels", "points"])
def test_a_network_in_double_precision(runs, run):
    gan = gan_lightning.load(runs / run)
    single = gan.sample(6, seed=1)
    gan.network.double()
    double = gan.sample(6, seed=1)
    assert double.dtype == torch.float32 and torch.allclose(single, double, atol=1e-4)
    assert next(gan.network.parameters()).dtype == torch.float64


def test_a_generator_that_knows_nothing_of_classes(runs):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, z, cond=None):
            assert cond is None
            return self.weight * z

    gan = gan_lightning.GAN(gan_lightning.load(runs / "dcgan").task, Plain(), {})
    assert gan.num_classes == 0 and len(gan.sample(3)) == 3
    with pytest.raises(ConfigError, match="takes no labels"):
        gan.sample(3, label=1)


@pytest.mark.parametrize("arguments, message", [
    ({"n": -1}, "n=-1: must be from 0"),
    ({"n": 2**63, "label": 1}, "n=9223372036854775808: must be from 0"),
    ({"n": 1, "start": -1}, "start=-1: must be from 0"),
    ({"n": 1, "start": 2**63 - 1}, "start=9223372036854775807: must be from 0"),
    ({"n": 1, "seed": -1}, "seed=-1: must be from 0"),
    ({"n": 0, "seed": 2**63}, "seed=9223372036854775808: must be from 0"),
])
def test_numbers_out_of_range(runs, arguments, message):
    with pytest.raises(ConfigError, match=message):
        gan_lightning.load(runs / "labels").sample(**arguments)


def test_the_largest_numbers(runs):
    gan = gan_lightning.load(runs / "labels")
    assert gan.sample(2, seed=2**63 - 1, start=2**62).isfinite().all()


@pytest.mark.parametrize("device", ["gpu", "", "meta", "cuda:12345"])
def test_no_such_device(runs, device):
    with pytest.raises(ConfigError, match=f"^device={device}: .*choose device=cpu"):
        gan_lightning.load("never read", device=device)


def test_labels(runs):
    gan = gan_lightning.load(runs / "labels")
    assert gan.num_classes == 10
    three, five = gan.sample(16, seed=0, label=3), gan.sample(16, seed=0, label=5)
    assert not torch.allclose(three, five)
    mixed = gan.sample(16, seed=0, label=torch.tensor([3, 5] * 8))
    assert torch.equal(mixed[0::2], three[0::2]) and torch.equal(mixed[1::2], five[1::2])
    assert torch.equal(gan.sample(6, start=10, label=3), three[10:])
    for label in (10, -1):
        with pytest.raises(ConfigError, match=f"label={label}: must be 0 to 9"):
            gan.sample(1, label=label)
    with pytest.raises(ConfigError, match="takes no labels"):
        gan_lightning.load(runs / "dcgan").sample(1, label=3)


def test_averaged_and_live_weights_differ(runs):
    averaged, live = (gan_lightning.load(runs / "dcgan", ema=ema).sample(4) for ema in (True, False))
    assert not torch.allclose(averaged, live)


def test_truncation(runs):
    gan = gan_lightning.load(runs / "dcgan")
    full, narrow = gan.sample(256), gan.sample(256, truncation=0.1)
    assert narrow.std(0).mean() < 0.5 * full.std(0).mean()


def test_weights_that_do_not_fit(runs, tmp_path):
    content = torch.load(runs / "dcgan" / "checkpoints" / "last.ckpt", weights_only=True)
    content["config"]["model"]["generator"]["width"] = 4
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="do not fit the networks of its own config"):
        gan_lightning.load(tmp_path / "a.ckpt")


def run_sample(folder, *arguments):
    command = [sys.executable, ROOT / "sample.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_sample_py(runs, tmp_path):
    expected = gan_lightning.pictures.to_uint8(gan_lightning.load(runs / "dcgan").sample(9, seed=2))
    for out in ("grid.png", "some/images.v1/", "a.npz"):
        done = run_sample(tmp_path, f"ckpt={runs / 'dcgan'}", "n=9", "seed=2", f"out={out}")
        assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "a.npz")["samples"], expected.permute(0, 2, 3, 1).numpy())
    files = sorted((tmp_path / "some" / "images.v1").iterdir())
    assert [f.name for f in files] == [f"{i:06}.png" for i in range(9)]
    assert np.array_equal(np.asarray(Image.open(files[4]))[..., 0], expected[4, 0].numpy())
    assert Image.open(tmp_path / "grid.png").size == (3 * 33 + 1, 3 * 33 + 1)
    assert {p.name for p in tmp_path.iterdir()} == {"grid.png", "some", "a.npz"}  # and nothing else


def test_points(runs, tmp_path):
    assert gan_lightning.load(runs / "points").sample(7).shape == (7, 2)
    assert run_sample(tmp_path, f"ckpt={runs / 'points'}", "out=a.png").returncode == 0
    bad = run_sample(tmp_path, f"ckpt={runs / 'points'}", "out=folder/")
    assert bad.returncode == 2 and "points have no pictures of their own" in bad.stderr


@pytest.mark.parametrize("out, kind", [
    ("a.png", ".png"), ("new/a.npz", ".npz"), ("samples.v1/", ""), ("samples", ""), ("folder.png/", ""),
    ("v1.2/x", ""), ("taken/", ""), ("taken", ""), ("taken/a.png", ".png"), ("file.png", ".png"), (".", ""),
])
def test_what_out_means(tmp_path, monkeypatch, out, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "file.png").touch()
    assert sample_files.kind_of(out) == kind


@pytest.mark.parametrize("out, message", [
    ("", "must end in .png"), ("a.jpg", "must end in .png"), ("samples.v1", "must end in .png"),
    ("folder.png", "is a folder"), ("file/", "file is a file"), ("file", "file is a file"),
    ("file/a.png", "file is a file"), ("file/b/c/", "file is a file"), ("file/b/a.npz", "file is a file"),
])
def test_out_in_a_place_that_is_taken(tmp_path, monkeypatch, out, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"^out={out}: {message}"):
        sample_files.kind_of(out)


def settings(**changes):
    return OmegaConf.merge(OmegaConf.structured(SampleConfig), {"ckpt": "never read"} | changes)


@pytest.mark.parametrize("changes, message", [
    ({"n": 0}, "n=0: must be from 1"),
    ({"start": -1}, "start=-1: must be from 0"),
    ({"seed": -1}, "seed=-1: must be from 0"),
    ({"seed": 2**63}, "seed=9223372036854775808: must be from 0"),
    ({"out": "a.jpg"}, "out=a.jpg: must end in"),
    ({"device": "gpu"}, "device=gpu: .*choose device=cpu"),
])
def test_settings_are_checked_before_anything_is_read(changes, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        sampling.main(settings(**changes))
    with pytest.raises(CheckpointError):  # they were all that was wrong
        sampling.main(settings())


@pytest.mark.parametrize("arguments, message", [
    ([], "ckpt is required"),
    (["ckpt=nowhere"], "nowhere: no such checkpoint"),
    (["ckpt=RUN", "n=0"], "n=0: must be from 1"),
    (["ckpt=RUN", "start=-1"], "start=-1: must be from 0"),
    (["ckpt=RUN", "seed=9223372036854775808"], "seed=9223372036854775808: must be from 0 to 2^63 - 1"),
    (["ckpt=RUN", "device=gpu"], "device=gpu: torch cannot use such a device here; choose device=cpu"),
    (["ckpt=RUN", "device=cuda:12345"], "device=cuda:12345: torch cannot use such a device here; choose"),
    (["ckpt=RUN", "out=a.jpg"], "out=a.jpg: must end in .png"),
    (["ckpt=RUN", "out=FILE/"], "is a file and cannot be a folder"),
    (["ckpt=RUN", f"out={'a' * 300}.png"], "cannot be written: File name too long"),
    (["ckpt=RUN", "label=3"], "takes no labels"),
    (["ckpt=RUN", "truncation=-1"], "truncation=-1"),
    (["ckpt=RUN", "truncation=nan"], "truncation=nan"),
    (["ckpt=RUN", "sed=3"], "did you mean 'seed'"),
])
def test_bad_input(runs, tmp_path, arguments, message):
    places = {"RUN": str(runs / "dcgan"), "FILE": str(runs / "dcgan" / "checkpoints" / "last.ckpt")}
    for name, place in places.items():
        arguments = [a.replace(name, place) for a in arguments]
    done = run_sample(tmp_path, *arguments)
    assert done.returncode in (1, 2) and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not done.stdout and not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["a.png", "a.npz", "folder/"])
def test_a_full_disk(runs, tmp_path, out):
    resource = pytest.importorskip("resource")
    command = [sys.executable, "-B", ROOT / "sample.py", f"ckpt={runs / 'dcgan'}", f"out={out}"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20)))
    assert done.returncode == 1, done.stderr
    assert done.stderr == f"error: out={out}: cannot be written: File too large\n"
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]  # no half of a file either


def test_needs_neither_data_nor_logger_nor_metric_package(runs, tmp_path):
    program = (
        "import sys, gan_lightning\n"
        f"gan_lightning.load({str(runs / 'dcgan')!r}).sample(2)\n"
        "heavy = {'lightning', 'pytorch_lightning', 'torchmetrics', 'torch_fidelity', 'wandb', 'sklearn',"
        "         'matplotlib', 'torchvision', 'gan_lightning.data', 'gan_lightning.module'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
                          check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stdout.strip() == "[]"
