"""The resolvers on small configs."""

import pytest
from omegaconf import OmegaConf

from gan_lightning.config import resolvers

PENALTY = {"_target_": "gan_lightning.terms.gradient.GradientPenalty"}
DRIFT = {"_target_": "gan_lightning.terms.drift.Drift"}


@pytest.mark.parametrize("loss, batch, layer", [
    ({}, "batch", "layer"),
    ({"trains_with": {"critic_norm": None}}, "batch", "layer"),
    ({"trains_with": {"critic_norm": "none"}}, "none", "none"),
    ({"trains_with": {"critic_norm": "spectral"}, "d_terms": {"gp": PENALTY}}, "spectral", "spectral"),
    ({"d_terms": {"gp": PENALTY}}, "none", "layer"),
    ({"d_terms": {"gp": None, "drift": DRIFT}}, "batch", "layer"),
    ({"d_terms": None}, "batch", "layer"),
])  # fmt: skip
def test_critic_norm(loss, batch, layer):
    model = {"one": "${critic_norm:batch}", "two": "${critic_norm:layer}"}
    cfg = OmegaConf.create({"loss": loss, "model": model})
    assert (cfg.model.one, cfg.model.two) == (batch, layer)


def test_critic_norm_without_a_loss():
    assert OmegaConf.create({"norm": "${critic_norm:batch}"}).norm == "batch"


@pytest.mark.parametrize("conditional, classes", [(True, 10), (False, 0)])
def test_if(conditional, classes):
    cfg = OmegaConf.create({"on": conditional, "n": 10, "classes": "${if:${on},${n},0}"})
    assert cfg.classes == classes


def test_registering_again_is_harmless():
    resolvers.register()
    resolvers.register()
    assert OmegaConf.create({"x": "${if:true,1,2}"}).x == 1
