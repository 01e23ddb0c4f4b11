"""Networks whose weights are shared out over devices (trainer.strategy=fsdp): the weights that one process gets."""

import json
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from gan_lightning.checkpoint import read_checkpoint
from gan_lightning.errors import ConfigError
from gan_lightning.sampling import load
from gan_lightning.sharded import check_sharding

CONF = Path(__file__).parents[2] / "conf"
FSDP = ["trainer.strategy._target_=gan_lightning.sharded.ShardedStrategy", "+trainer.strategy.block=100"]
MLP = ["model=mlp", "model.z_dim=6", "model.generator.hidden=[12]", "model.discriminator.hidden=[12,12]"]
DCGAN = ["model=dcgan", "model.width=4", "model.z_dim=6", "loss=hinge"]
COMMON = ["data.batch_size=12", "trainer.precision=64-true", "task._target_=random_by_image.RandomByImage",
          "optim.g.lr=1e-2", "optim.d.lr=1e-2", "optim.g.eps=1e-4", "optim.d.eps=1e-4", "max_kimg=0.072"]


CANNOT_BE_COMPARED = {
    "latent_step": "differentiates twice, through D and G",
}
"""Choices of `term` that are not played here, though no term's `allows_sharding` says so: why."""


def allowed(node) -> bool:
    return getattr(get_class(node["_target_"]), "allows_sharding", True)


def loss(name: str) -> list[str]:
    """The loss without the terms that cannot be."""
    terms = OmegaConf.load(CONF / "loss" / f"{name}.yaml").d_terms
    return [f"loss={name}", *(f"loss.d_terms.{term}=null" for term, node in terms.items() if not allowed(node))]


LOSSES = {path.stem: loss(path.stem) for path in (CONF / "loss").glob("*.yaml")}
TERMS = {path.stem: allowed(OmegaConf.load(path)) for path in (CONF / "term").glob("*.yaml")
         if path.stem not in CANNOT_BE_COMPARED}
GAMES = {name: [*MLP, *settings] for name, settings in LOSSES.items()}
GAMES |= {f"hinge+{name}": [*MLP, "loss=hinge", f"term=[{name}]"] for name, fits in TERMS.items() if fits}
GAMES |= {
    "critics": [*MLP, "loss=hinge", "loss.n_critic=2", "optim.d_clip=0.05", "optim.g_clip=0.01"],
    "accumulated": [*MLP, "loss=non_saturating", "optim.accumulate=2", "optim/decay=cosine"],
    "batch norm": [*DCGAN, "trainer.sync_batchnorm=true", "channels_last=true"],
    "spectral norm": [*DCGAN, "model.d_norm=spectral", "model.g_norm=layer", "model.conditional=false"],
    "undone": [*MLP, "loss=hinge", "+callbacks.undo._target_=undo.Undo"],
}
HALF = [*MLP, "loss=hinge", "callbacks=default", "callbacks.curves=null", "callbacks.checkpoint.every_kimg=0.036",
        "callbacks.watchdog.every_kimg=0.024", "metrics=random_conv", "metrics.num_fake=64", "metrics.num_real=200"]
WHOLE = [*MLP, "loss=hinge"]
ON = "ckpt_path=runs/test_sharded.half sharded-2"
JOBS = {name: {"overrides": [*settings, *COMMON], "worlds": [1]} for name, settings in GAMES.items()}
JOBS |= {f"{name} sharded": {"overrides": [*settings, *COMMON, *FSDP], "worlds": [2]} for name, settings in GAMES.items()}
JOBS |= {
    "half": {"overrides": [*HALF, *COMMON], "worlds": [1]},
    "half sharded": {"overrides": [*HALF, *COMMON, *FSDP], "worlds": [2]},
    "whole": {"overrides": [*WHOLE, *COMMON, "max_kimg=0.144"], "worlds": [1]},
    "on sharded": {"overrides": [*WHOLE, *COMMON, "max_kimg=0.144", *FSDP, ON], "worlds": [2]},
    "on replicated": {"overrides": [*WHOLE, *COMMON, "max_kimg=0.144", ON], "worlds": [2]},
}


def assert_equal(one: dict, some: dict) -> None:
    assert "error" not in one, one["error"]
    assert "error" not in some, some["error"]
    assert some["state"].keys() == one["state"].keys() and some["steps"] == one["steps"]
    for key, value in one["state"].items():
        assert torch.allclose(value, some["state"][key], rtol=0, atol=1e-12), key
    for mine, theirs in zip(one["optimizers"], some["optimizers"], strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.allclose(mine[i][k], theirs[i][k], rtol=0, atol=1e-12) for i in mine for k in mine[i])


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_weights_are_those_of_one_process_with_the_joint_batch(games, game):
    assert_equal(games(game, 1), games(f"{game} sharded", 2))


@pytest.mark.slow
def test_each_device_holds_its_share_and_no_more(games):
    """Of G, D and the averaged G; a share is a number of rows, so one device may hold a row more of each weight."""
    whole, shares = games("hinge", 1)["held"], [games("hinge sharded", 2, rank)["held"] for rank in range(2)]
    assert sum(shares) == whole and shares[0] < 0.55 * whole


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sharded", "replicated"])
def test_a_run_goes_on_sharded_or_not(games, how):
    assert_equal(games("whole", 1), games(f"on {how}", 2))


@pytest.mark.slow
def test_checkpoints_pictures_and_scores_are_those_of_whole_networks(games, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)  # the task of the checkpoints is there
    assert_equal(games("half", 1), games("half sharded", 2))
    one, some = (games.folder / "runs" / f"test_sharded.{name}" for name in ("half-1", "half sharded-2"))
    files = sorted(path.relative_to(one) for path in one.rglob("*.*"))
    assert files == sorted(path.relative_to(some) for path in some.rglob("*.*"))
    pictures = [path for path in files if path.suffix == ".png"]
    assert pictures and all((one / path).read_bytes() == (some / path).read_bytes() for path in pictures)
    scored = [json.loads((run / "summary.json").read_text()) for run in (one, some)]
    scores = [{name: score["value"] for name, score in summary["scores"]["scores"].items()} for summary in scored]
    assert scores[1] == pytest.approx(scores[0], rel=1e-6)
    last = [summary["last"] for summary in scored]  # losses, and what the watchdog measured
    assert [set(values) for values in last] == [set(last[0])] * 2 and "health/g_gradient" in last[0]
    for name in set(last[0]) - {"health/gap_in_stds"}:  # in standard deviations within each device's share
        assert last[1][name] == pytest.approx(last[0][name], rel=1e-5), name
    state, whole = (read_checkpoint(run)["state_dict"] for run in (some, one))
    assert all(type(value) is torch.Tensor and value.shape == whole[name].shape for name, value in state.items())
    assert torch.allclose(load(some).sample(8), load(one).sample(8), atol=1e-6)


@pytest.mark.parametrize("settings, message", [
    *((["model=mlp", f"term=[{name}]"], f"loss.._terms.{name} differentiates twice, or reads weights")
      for name, fits in TERMS.items() if not fits),
    (["loss=wgan_gp", "model=mlp"], "loss.d_terms.gradient_penalty differentiates twice"),
    (["model=mlp", "term=[latent_step]"], "task.latent_step differentiates twice"),
    (["compile=true"], "compile=true has not been made to work"),
    (["trainer.precision=16-mixed"], "trainer.precision=bf16-mixed"),
])
def test_refused(config, settings, message):
    with pytest.raises(ConfigError, match=f"trainer.strategy=fsdp: .*{message}"):
        check_sharding(config("trainer.strategy=fsdp", *settings), 2)


def test_one_device_shares_nothing_out(train):
    with pytest.raises(ConfigError, match="trainer.devices must be at least 2"):
        train("model=mlp", "trainer.strategy=fsdp")
