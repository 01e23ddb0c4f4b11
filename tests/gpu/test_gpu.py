"""What only a GPU can show. Each test skips by itself without one: `pytest -m gpu`."""

import pytest
import torch

from gan_lightning import training
from gan_lightning.build import build_module
from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.tasks.base import Clock

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]

GPU = ["trainer.accelerator=gpu", "tf32=false"]
EXACT = [*GPU, "trainer.deterministic=true"]
DCGAN = ["model=dcgan", "model.conditional=false", "model.width=16", "data.resolution=32"]
PRECISIONS = ["32-true", "bf16-mixed", "16-mixed"]


@pytest.fixture(autouse=True)
def _cublas_workspace(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch demands it of deterministic runs


def vector(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().double().flatten().cpu() for weight in network.parameters()])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("term", ["r1", "r2", "gradient_penalty", "dragan"])
def test_penalties_in_half_precision_equal_float32(config, term, dtype):
    """Value and gradient, of weights so small that a penalty in float16 would underflow."""
    task = build_module(config(*DCGAN, "model.d_norm=none", "loss=wgan", f"term=[{term}]")).task.cuda()
    with torch.no_grad():
        for weight in task.d.parameters():
            weight.mul_(0.3)
    real, fake = torch.rand(2, 8, 1, 32, 32, device="cuda").mul(2).sub(1)
    task.generate = lambda batch, g: fake
    found = []
    for enabled in (False, True):
        torch.cuda.manual_seed(1)
        with torch.autocast("cuda", dtype, enabled=enabled):
            penalty = task.d_loss({"real": real.clone()}, Clock(0, 0))[term]
        found.append((penalty, torch.autograd.grad(penalty, list(task.d.parameters()), allow_unused=True)))
    (full, full_gradient), (half, half_gradient) = found
    assert half.dtype == torch.float32 and torch.allclose(full, half, rtol=1e-3)
    pairs = [(a, b) for a, b in zip(full_gradient, half_gradient, strict=True) if a is not None]
    for a, b in pairs:
        assert (a - b).norm() <= 1e-2 * a.norm() + 1e-12
    assert max(a.abs().max() for a, _ in pairs) > 0


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_moves_the_weights_as_float32_does(train, config, monkeypatch, precision):
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: scaler(device, init_scale=2.0**10))
    settings = [*GPU, *DCGAN, "optim=sgd", "optim.g.lr=0.02", "optim.d.lr=0.02", "optim.d_clip=0.5", "max_kimg=0.16"]
    half, full = train(*settings, f"trainer.precision={precision}"), train(*settings)
    start = build_module(config(*settings))
    for player in ("g", "d"):
        first, mine, theirs = (vector(getattr(module.task, player)) for module in (start, half, full))
        assert (mine - theirs).norm() < 0.25 * (theirs - first).norm()


def test_an_overflow_skips_only_that_players_step(train, config, monkeypatch):
    scaler, scales = torch.amp.GradScaler, [2.0**126, 2.0**8]
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: scaler(device, init_scale=scales.pop(0)))
    settings = [*GPU, "model=mlp", "trainer.precision=16-mixed", "max_kimg=0.064"]
    module, start = train(*settings), build_module(config(*settings))
    assert torch.equal(vector(module.task.d), vector(start.task.d))
    assert not torch.equal(vector(module.task.g), vector(start.task.g))
    assert module.trainer.precision_plugin.statistics()["amp/d_skipped"] == 4


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("settings", [
    [*DCGAN[:1], *DCGAN[2:], "model.conditional=true"],
    [*DCGAN, "loss=wgan_gp", "term=[r1]", "loss.n_critic=2", "optim.d_clip=1.0", "optim.g_clip=1.0"],
    ["model=resnet", "model.width=16", "data.resolution=32", "loss=hinge"],
], ids=["conditional", "penalties", "spectral"])
def test_a_step_never_waits_for_the_gpu(train, monkeypatch, settings, precision):
    """CUDA's own debug mode raises at the first synchronisation within a step."""
    step, steps = training.GANModule.training_step, []

    def watched(self, batch, batch_idx):
        steps.append(self.steps)
        torch.cuda.set_sync_debug_mode("error" if self.steps >= 3 else "default")  # first steps allocate and tune
        try:
            step(self, batch, batch_idx)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(training.GANModule, "training_step", watched)
    train(*GPU, *settings, f"trainer.precision={precision}", "max_kimg=0.256")
    assert len(steps) > 4


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("held", ["cpu", "gpu"])
def test_resume_is_exact(train, tmp_path, precision, held):
    """Random numbers drawn on the GPU go on as if nothing had happened; so do loss scales and moments."""
    settings = [*EXACT, *DCGAN, "loss=wgan_gp", "loss.n_critic=2", f"trainer.precision={precision}",
                f"data.device={held}", "callbacks=default", "callbacks.samples=null", "callbacks.curves=null"]
    train(*settings, "max_kimg=0.32", run_dir=tmp_path / "whole")
    for max_kimg in (0.128, 0.32):
        train(*settings, f"max_kimg={max_kimg}", "ckpt_path=last", run_dir=tmp_path / "parts")
    whole, parts = (read_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
    for mine, theirs in zip(whole["optimizer_states"], parts["optimizer_states"], strict=True):
        for index, values in mine["state"].items():
            assert all(torch.equal(value, theirs["state"][index][name]) for name, value in values.items())


def test_a_set_held_on_the_gpu_trains_as_one_in_memory(train):
    runs = [train(*EXACT, *DCGAN, "data.hflip=true", f"data.device={held}", "max_kimg=0.16") for held in ("cpu", "gpu")]
    assert torch.equal(vector(runs[0]), vector(runs[1]))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compiled_networks_train_alike(train, config, precision):
    settings = [*GPU, *DCGAN, "loss=wgan_gp", "optim=sgd", "optim.g.lr=0.01", "optim.d.lr=0.01", "max_kimg=0.24",
                f"trainer.precision={precision}"]
    compiled, eager = (train(*settings, f"compile={value}") for value in ("true", "false"))
    start = build_module(config(*settings))
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    for player in ("g", "d"):
        first, mine, theirs = (vector(getattr(module.task, player)) for module in (start, compiled, eager))
        assert (mine - theirs).norm() < (0.01 if precision == "32-true" else 0.25) * (theirs - first).norm()


def test_scores_do_not_see_the_precision_of_the_training(train):
    """Equal weights have equal scores, with TF32 and autocast on or off: a run without steps worth mentioning."""
    settings = [*GPU, "model=mlp", "metrics=random_conv", "metrics.num_fake=200", "optim.g.lr=1e-12", "optim.d.lr=1e-12",
                "max_kimg=0.032", "callbacks=none"]
    rows = []
    for extra in ([], ["tf32=true", "trainer.precision=bf16-mixed"]):
        module = train(*settings, *extra)
        rows.append({name: value for name, value in module.journal.rows[-1].items() if name.startswith("metrics/")})
    assert rows[0] and rows[0] == pytest.approx(rows[1], rel=1e-4)
