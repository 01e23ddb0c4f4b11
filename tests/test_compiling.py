"""torch.compile, in place."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lightning.build import build_module, build_task
from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.sampling import GAN, load
from gan_lightning.tasks.base import Clock

ROOT = Path(__file__).parent.parent
CONVOLUTIONS = ["model=deconv_mlp", "model.g_norm=none", "model.d_norm=none"]


@pytest.mark.parametrize("term", ["r1", "gradient_penalty", "feature_matching"])
def test_gradients_equal_eager_ones_penalties_included(config, term):
    """Both players, with a compiled D that cannot be differentiated twice: the penalty must find its way around it."""
    found = []
    for compiled in (False, True):
        task = build_module(config(*CONVOLUTIONS, "loss=hinge", f"term=[{term}]")).task
        if compiled:  # traced and differentiated as by inductor, but nothing to build
            task.d.compile(backend="aot_eager")
            task.g.compile(backend="aot_eager")
        torch.manual_seed(1)
        batch = {"real": torch.rand(4, 1, 8, 8) * 2 - 1}
        losses = task.d_loss(dict(batch), Clock(0, 0)) | {f"g {k}": v for k, v in task.g_loss(batch, Clock(0, 0)).items()}
        weights = list(task.parameters())
        gradients = torch.autograd.grad(sum(losses.values()), weights, allow_unused=True)
        found.append((losses, {k: g for (k, _), g in zip(task.named_parameters(), gradients, strict=True) if g is not None}))
    (eager, theirs), (compiled, mine) = found
    assert eager.keys() == compiled.keys() and any(name.endswith(term) for name in eager)
    assert mine.keys() == theirs.keys()
    for name, value in eager.items():
        assert torch.allclose(compiled[name], value, rtol=1e-5), name
    for name, value in theirs.items():
        assert torch.allclose(mine[name], value, rtol=1e-4, atol=1e-7), name


def test_samples_of_any_number_need_no_compiling(config):
    task = build_task(config(*CONVOLUTIONS))
    calls = []

    def count(graph, inputs):
        calls.append(graph)
        return graph.forward

    task.g.compile(backend=count)
    gan = GAN(task, task.g, {})
    gan.sample(3)
    assert not calls
    task.g(torch.randn(2, task.g.z_dim))
    assert calls  # and is compiled again afterwards


@pytest.mark.slow
def test_a_compiled_run_is_a_run_like_any_other(train, tmp_path):
    """The same weights up to rounding, under the same names; goes on uncompiled, and samples."""
    settings = ["model=mlp", "loss=wgan_gp", "loss.n_critic=2", "optim.ema.half_life_kimg=0.1"]
    runs = {compile: train(*settings, "max_kimg=0.16", f"compile={compile}", "callbacks=default", "callbacks.samples.n=7",
                           run_dir=tmp_path / str(compile)) for compile in (False, True)}
    assert runs[True].task.d._compiled_call_impl is not None and runs[False].task.d._compiled_call_impl is None
    mine, theirs = runs[True].state_dict(), runs[False].state_dict()
    assert mine.keys() == theirs.keys() == read_checkpoint(tmp_path / "True")["state_dict"].keys()
    for name, value in theirs.items():
        assert torch.allclose(mine[name], value, rtol=0, atol=1e-5), name
    assert torch.allclose(load(tmp_path / "True").sample(5), load(tmp_path / "False").sample(5), atol=1e-3)
    more = train(*settings, "max_kimg=0.32", "ckpt_path=last", "callbacks=default", run_dir=tmp_path / "True")
    assert more.steps == 10


@pytest.mark.slow
def test_no_compiler_is_said_before_training(tmp_path):
    program = ("import torch; from gan_lightning.compiling import check_compiler\n"
               "try: check_compiler(torch.device('cpu'))\nexcept ValueError as error: print(error)")
    environment = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.startswith("compile=true: torch.compile does not work here"), done.stderr
    assert "choose compile=false" in done.stdout
