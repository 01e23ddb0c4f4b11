"""conf/model/*.yaml: each file's nodes fit their constructors, and build networks that work."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from gan_lightning.initialisation import initialise
from gan_lightning.networks import toy2d

CONF = Path(__file__).parents[2] / "conf" / "model"
SMALL = {
    "mlp": {}, "upsample_mlp": {}, "deconv_mlp": {}, "mlp_conv": {}, "dcgan": {"width": 4}, "resnet": {"width": 4},
    "sagan": {"width": 8}, "biggan": {"width": 4}, "biggan_deep": {"width": 8}, "fastgan": {"width": 8},
    "stylegan2": {"channel_max": 8, "w_dim": 16, "mapping_layers": 2},
    "progan": {"channel_max": 8, "kimg_per_stage": 0, "kimg_fade": 0},
    "r3gan": {"width": 16, "blocks_per_stage": 1},
}
IMAGE_MODELS = tuple(SMALL)
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
DATA = {"resolution": 32, "channels": 3, "num_classes": 10}


def resolved(value, knobs, data, critic_norm=None):
    """The value of an interpolation, worked out here by its definition."""
    if not isinstance(value, str) or not value.startswith("${"):
        return value
    inner = value[2:-1]
    if inner.startswith("critic_norm:"):
        return critic_norm or inner.removeprefix("critic_norm:")
    if inner == "if:${model.conditional},${data.num_classes},0":
        return data["num_classes"] if knobs["conditional"] else 0
    group, key = inner.split(".")
    return resolved({"model": knobs, "data": data}[group][key], knobs, data, critic_norm)


def read(name, **changes):
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    nodes = {key: config.pop(key) for key in ("generator", "discriminator")}
    assert set(changes) <= set(config)
    return {**config, **changes}, nodes


def build(name, data, critic_norm=None, **changes):
    knobs, nodes = read(name, **changes)
    networks = []
    for node in nodes.values():
        arguments = {key: resolved(value, knobs, data, critic_norm) for key, value in node.items()}
        module, _, cls = arguments.pop("_target_").rpartition(".")
        networks.append(getattr(import_module(module), cls)(**arguments))
    return networks


def test_all_models_are_tested():
    assert NAMES == sorted([*IMAGE_MODELS, "toy2d"])


@pytest.mark.parametrize("name", NAMES)
def test_yaml_keys_are_the_constructor_s(name):
    knobs, nodes = read(name)
    assert {"z_dim", "init"} <= set(knobs) and ("conditional" in knobs) == (name != "toy2d")
    for node in nodes.values():
        module, _, cls = node["_target_"].rpartition(".")
        parameters = inspect.signature(getattr(import_module(module), cls)).parameters
        assert set(node) - {"_target_"} <= set(parameters)
        for parameter in parameters.values():
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            assert parameter.annotation is not parameter.empty


@pytest.mark.parametrize("name", NAMES)
def test_every_knob_is_used(name):
    knobs, nodes = read(name)
    text = str(nodes)
    assert all(f"${{model.{knob}}}" in text for knob in knobs if knob != "init")
    assert set(re.findall(r"\$\{model\.(\w+)\}", text)) <= set(knobs)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_header_names_its_source(name):
    header = (CONF / f"{name}.yaml").read_text().split("\nz_dim")[0]
    assert re.search(r"\b(19|20)\d\d,\s(# )?(arXiv:|doi:)", header)


@pytest.mark.parametrize("critic_norm", [None, "none", "spectral", "layer"])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_yaml_builds_networks_that_work(name, conditional, critic_norm):
    default = read(name)[0].get("d_norm", "none")
    if critic_norm is not None and (default == "none" or (name.startswith("biggan") and critic_norm == "layer")):
        pytest.skip("its discriminator has no such choice")
    g, d = build(name, DATA, critic_norm, conditional=conditional, **SMALL[name])
    initialise(g, read(name)[0]["init"])
    initialise(d, read(name)[0]["init"])
    cond = torch.arange(4) if conditional else None
    patches = 25 if name == "fastgan" else 1
    assert d(g(torch.randn(4, g.z_dim), cond), cond).shape == (4, patches)
    spectral = any(nn.utils.parametrize.is_parametrized(module) for module in d.modules())
    assert spectral == ("spectral" in (critic_norm or default))


def test_toy2d_yaml_builds_networks_that_work():
    g, d = build("toy2d", {"resolution": 1, "channels": 2, "num_classes": 0})
    assert isinstance(g, toy2d.Generator) and d(g(torch.randn(5, g.z_dim))).shape == (5, 1)
