"""Suggestions for misspelt names and paths."""

import pytest
from omegaconf import OmegaConf

from gan_lightning.config.suggest import did_you_mean, did_you_mean_setting, paths_of

PATHS = ["loss", "loss.n_critic", "trainer.devices", "optim.g.lr", "optim.d.lr", "data.resolution", "seed"]


@pytest.mark.parametrize("path, hint", [
    ("los", " - did you mean 'loss'?"),
    ("loss.ncritic", " - did you mean 'loss.n_critic'?"),
    ("trainr.devices", " - did you mean 'trainer.devices'?"),
    ("devices", " - did you mean 'trainer.devices'?"),
    ("lr", " - did you mean 'optim.g.lr' or 'optim.d.lr'?"),
    ("optim.d.rl", ""),
    ("xyz", ""),
])  # fmt: skip
def test_settings(path, hint):
    assert did_you_mean_setting(path, PATHS) == hint


def test_words():
    assert did_you_mean("wgangp", ["wgan", "wgan_gp", "hinge"]) == " - did you mean 'wgan_gp'?"
    assert did_you_mean("zzz", ["wgan", 3]) == ""


def test_paths_resolve_nothing():
    cfg = OmegaConf.create({"a": {"_target_": "x", "b": "${nowhere}"}, "c": "???", "d": [1], "e": None})
    assert paths_of(cfg) == ["a", "a.b", "c", "d", "e"]
