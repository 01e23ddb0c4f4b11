"""Half precision: bfloat16 and float16 on the CPU are the real thing, only slow."""

import pytest
import torch

from gan_lightning.build import build_module
from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.errors import TrainingDiverged
from gan_lightning.mixed_precision import TwoPlayerPrecision
from gan_lightning.tasks.base import Clock
from gan_lightning.tasks.generation import Generation

SMALL = ["model=mlp", "loss=hinge", "loss.n_critic=2"]


def vector(module: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_half_precision_moves_the_weights_as_float32_does(train, config, monkeypatch, precision, clip):
    """SGD, so that a gradient that is left scaled, or clipped while scaled, shows as a step of another length."""
    scaler = torch.amp.GradScaler  # at 2^16, its own first scale, G's first step overflows and is skipped
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: scaler(device, init_scale=2.0**10))
    settings = [*SMALL, "optim=sgd", "optim.g.lr=0.05", "optim.d.lr=0.05", "max_kimg=0.32"]
    if clip:
        settings += [f"optim.g_clip={clip}", f"optim.d_clip={clip}"]
    half, full = train(*settings, f"trainer.precision={precision}"), train(*settings)
    start = build_module(config(*settings))
    for player in ("g", "d"):
        first, mine, theirs = (vector(getattr(module.task, player)) for module in (start, half, full))
        assert (theirs - first).norm() > 1e-3
        assert (mine - theirs).norm() < 0.1 * (theirs - first).norm()
    assert {p.dtype for p in half.parameters()} == {torch.float32}


@pytest.mark.parametrize("fused", [True, False])
def test_an_overflow_skips_only_that_players_step(train, config, monkeypatch, fused):
    """D's first loss scale is 2^8 times too large for float32: 8 or more of D's steps are skipped, none of G's."""
    huge = 2.0**126
    init = TwoPlayerPrecision.__init__

    def with_a_huge_scale_for_d(self, precision, device):
        init(self, precision, device)
        self.scalers["d"] = torch.amp.GradScaler(device, init_scale=huge)

    monkeypatch.setattr(TwoPlayerPrecision, "__init__", with_a_huge_scale_for_d)
    settings = ["model=mlp", "optim=sgd", "optim.g.lr=0.1", "optim.d.lr=0.1", "trainer.precision=16-mixed",
                f"optim.g.fused={fused}", f"optim.d.fused={fused}"]
    module = train(*settings, "max_kimg=0.064", "callbacks=default", "callbacks.losses.every_kimg=0.064",
                   "callbacks.watchdog=null")
    start = build_module(config(*settings))
    assert torch.equal(vector(module.task.d), vector(start.task.d))
    assert not torch.equal(vector(module.task.g), vector(start.task.g))
    row = next(row for row in module.journal.rows if "amp/d_skipped" in row)
    assert row["amp/d_skipped"] == 4 and row["amp/g_skipped"] == 0
    assert row["amp/d_scale"] == huge / 2**4 and row["amp/g_scale"] == 2.0**16

    module = train(*settings, "max_kimg=3.2", "callbacks=default", "callbacks.watchdog=null")
    rows = [row for row in module.journal.rows if "amp/d_skipped" in row]
    skipped = [row["amp/d_skipped"] for row in rows]
    assert sum(skipped) == torch.tensor(huge / rows[-1]["amp/d_scale"]).log2()  # each halves the scale, once
    assert skipped[-1] == 0 and not torch.equal(vector(module.task.d), vector(start.task.d))


def test_a_gradient_that_no_scale_helps_is_a_divergence(train, monkeypatch):
    class Infinite(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    g_loss = Generation.g_loss
    monkeypatch.setattr(Generation, "g_loss", lambda self, batch, clock: {
        name: Infinite.apply(loss) for name, loss in g_loss(self, batch, clock).items()})
    with pytest.raises(TrainingDiverged, match="gradients of the generator are infinite or not a number at any scale"):
        train("model=mlp", "trainer.precision=16-mixed", "max_kimg=1.6", "callbacks=default", "callbacks.watchdog=null")


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_resume_is_exact(train, tmp_path, monkeypatch, precision):
    """Scales, when they grow next, and skipped steps not yet logged go on where they were."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: scaler(device, init_scale=2.0**100, growth_interval=3))
    settings = ["model=mlp", "loss=wgan_gp", "loss.n_critic=2", f"trainer.precision={precision}", "callbacks=default",
                "callbacks.losses.every_kimg=1.6", "callbacks.watchdog=null", "callbacks.samples=null", "callbacks.curves=null"]
    whole = train(*settings, "max_kimg=3.2", run_dir=tmp_path / "whole")
    for max_kimg in (0.96, 3.2):
        module = train(*settings, f"max_kimg={max_kimg}", "ckpt_path=last", run_dir=tmp_path / "parts")
    states = [read_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    assert states[0]["TwoPlayerPrecision"] == states[1]["TwoPlayerPrecision"]
    assert bool(states[0]["TwoPlayerPrecision"]["scalers"]) == (precision == "16-mixed")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("term", ["r1", "r2", "gradient_penalty", "dragan"])
def test_penalties_are_taken_in_float32(config, term, dtype):
    """Value and gradient under autocast are those without it, bit for bit, where float16 itself would underflow."""
    task = build_module(config("model=deconv_mlp", "model.d_norm=none", "loss=wgan", f"term=[{term}]",
                               "model.g_norm=none")).task
    with torch.no_grad():
        for weight in task.d.parameters():
            weight.mul_(0.05)
    batch = {"real": torch.rand(8, 1, 8, 8) * 2 - 1, "z": torch.randn(8, task.g.z_dim)}
    found = {}
    for autocast in (False, True):
        with torch.autocast("cpu", dtype, enabled=False):
            batch["fake"] = task.generate(batch, task.g).detach()
        task.generate = lambda batch, g: batch["fake"]
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype, enabled=autocast):
            penalty = task.d_loss(dict(batch), Clock(0, 0))[term]
        found[autocast] = penalty, torch.autograd.grad(penalty, list(task.d.parameters()), allow_unused=True)
        del task.generate
    assert found[True][0].dtype == torch.float32
    assert torch.allclose(found[True][0], found[False][0], rtol=1e-6, atol=0)
    pairs = [(a, b) for a, b in zip(found[True][1], found[False][1], strict=True) if b is not None]
    assert pairs and all(torch.allclose(a, b, rtol=1e-4, atol=1e-12) for a, b in pairs)
    assert max(b.abs().max() for _, b in pairs) > 0
