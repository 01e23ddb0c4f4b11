"""A config as a dict against small classes: each fault alone, and the same config without it."""

import sys
from textwrap import dedent

import pytest
from omegaconf import OmegaConf

from gan_lightning.config.check import check
from gan_lightning.config.schema import Config
from gan_lightning.errors import ConfigError

PARTS = """
    from collections.abc import Callable

    class Term:
        def __init__(self, weight: float = 1.0, every: int = 1): ...

    class Objective:
        def __init__(self, adversarial: Term, d_terms: dict[str, Term | None] | None = None,
                     trains_with: dict | None = None): ...

    class Data:
        def __init__(self, root: str, resolution: int = 8): ...

    class Net:
        def __init__(self, z_dim: int, layers: list[Term] | None = None): ...

    class Task:
        def __init__(self, generator: Net, latent: str = "normal"): ...

    class Optim:
        def __init__(self, g: Callable, clip: float | None = None): ...
"""


@pytest.fixture(scope="module", autouse=True)
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    (folder / "check_parts.py").write_text(dedent(PARTS))
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def config(**changes):
    """A right config; `changes` sets dotted paths, written with __ for the dots."""
    cfg = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create({
        "data": {"_target_": "check_parts.Data", "root": "here", "resolution": 8},
        "model": {"z_dim": 4, "generator": {"_target_": "check_parts.Net", "z_dim": "${model.z_dim}"}},
        "loss": {
            "_target_": "check_parts.Objective",
            "adversarial": {"_target_": "check_parts.Term"},
            "d_terms": {"r1": {"_target_": "check_parts.Term", "weight": 2}, "off": None},
            "trains_with": {"lr": 1e-4, "betas": [0.5, 0.9]},
        },
        "task": {"_target_": "check_parts.Task"},
        "optim": {
            "_target_": "check_parts.Optim",
            "g": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": "${loss.trains_with.lr}"},
        },
        "callbacks": {"log": {"_target_": "check_parts.Term"}, "none": None},
        "logger": {},
        "trainer": {"_target_": "lightning.Trainer", "devices": 1, "precision": "32-true"},
        "max_kimg": 1,
    }))  # fmt: skip
    for path, value in changes.items():
        OmegaConf.update(cfg, path.replace("__", "."), value, force_add=True)
    return cfg


LAYERS = "model__generator__layers"
FAULTS = [
    ({"data__root": "???"}, "data.root is required: data.root=PATH"),
    ({"max_kimg": "???"}, "max_kimg is required"),
    ({"data__resolutoin": 3}, "no setting 'data.resolutoin' - did you mean 'data.resolution'?"),
    ({"data__shape": 3}, "no setting 'data.shape': Data takes root, resolution"),
    ({"data__resolution": "big"}, "data.resolution=big: must be an integer"),
    ({"data__resolution": True}, "data.resolution=true: must be an integer"),
    ({"data__root": 3}, "data.root=3: must be a string"),
    ({"data": {"root": "x"}, "data___target_": None}, "data._target_=null: must be the dotted name"),
    ({"loss__d_terms__r1": 3}, "loss.d_terms.r1=3: must be"),
    ({"loss__d_terms__r2": {"weight": 1}}, "loss.d_terms.r2 has no _target_"),
    ({"loss__d_terms__r1__wieght": 1}, "'loss.d_terms.r1.wieght' - did you mean 'loss.d_terms.r1.weight'?"),
    ({"loss__adversarial": "hinge"}, "loss.adversarial=hinge: must be a node with a _target_"),
    ({"callbacks__log": 3}, "callbacks.log=3: must be a node with a _target_, or null"),
    ({"callbacks__ema": {"decay": 1}}, "callbacks.ema has no _target_"),
    ({"model__encoder": {"z_dim": 1}}, "model.encoder has no _target_"),
    ({"model__generator__z_dim": "${data.z_dim}"}, "model.generator.z_dim: ${data.z_dim} names no setting"),
    ({"model__generator__z_dim": "${nothing:3}"}, "z_dim: Unsupported interpolation type nothing"),
    ({"model__generator__z_dim": "${if:maybe,1,2}"}, "model.generator.z_dim: the condition of an ${if:...}"),
    ({"model__z_dim": "wide"}, "model.z_dim=wide: must be an integer"),
    ({LAYERS: [{"_target_": "check_parts.Trem"}]}, "no 'Trem' in check_parts - did you mean 'Term'?"),
    ({LAYERS: [{"weight": 3}]}, "model.generator.layers=[{weight: 3}]: must be"),
    ({LAYERS: [{"_target_": "check_parts.Term", "wight": 3}]}, "'model.generator.layers[0].wight'"),
    ({"task__latent": 3}, "task.latent=3: must be a string"),
    ({"optim__g__betas": [0.5]}, "optim.g.betas=[0.5]: must be a list of 2 values"),
    ({"loss__trains_with__lr": "fast"}, "loss.trains_with.lr=fast: must be a number"),
    ({"trainer__max_epochs": 3}, "max_kimg"),
    ({"trainer__use_distributed_sampler": True}, "trainer.use_distributed_sampler=True has no effect"),
    ({"trainer__precision": "64-treu"}, "did you mean '64-true'?"),
    ({"trainer__devices": 1.5}, "trainer.devices=1.5: must be a list, each an integer or a string"),
    ({"optim__g": {"_target_": "torch.optim.Adm"}}, "no 'Adm' in torch.optim - did you mean 'Adam'?"),
    ({"sed": 3}, "no setting 'sed' - did you mean 'seed'?"),
]  # fmt: skip


@pytest.mark.parametrize("changes, message", FAULTS, ids=[next(iter(changes)) for changes, _ in FAULTS])
def test_faults(changes, message):
    with pytest.raises(ConfigError) as caught:
        check(config(**changes))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [
    {}, {"data__resolution": "${model.z_dim}"}, {"loss__d_terms__r1": None}, {"callbacks": None},
    {"loss__d_terms__r1__weight": 0.5}, {"loss__trains_with__anything": 3}, {"optim__clip": None},
    {"trainer__max_epochs": -1},
    {"trainer__accumulate_grad_batches": 1}, {"trainer__use_distributed_sampler": False},
    {"trainer__devices": [0, 1]}, {"trainer__devices": "auto"}, {"trainer__precision": 16},
    {"data__root": "${hydra:runtime.cwd}"}, {"optim__g__betas": "${loss.trains_with.betas}"},
    {LAYERS: [{"_target_": "check_parts.Term"}]},
])  # fmt: skip
def test_right_configs(changes):
    check(config(**changes))


def test_required_parameters():
    cfg = config()
    del cfg.model.generator.z_dim
    with pytest.raises(ConfigError, match=r"^model\.generator\.z_dim is required by Net: "):
        check(cfg)
    cfg.model.generator["_partial_"] = True
    cfg.model.pop("z_dim")
    check(cfg)


def test_a_knob_added_to_the_model_must_be_read():
    cfg = config(model__widht=3)
    with pytest.raises(ConfigError, match=r"no setting 'model\.widht': model has z_dim, generator"):
        check(cfg, ["+model.widht=3"])
    cfg.model.generator.z_dim = "${model.widht}"
    cfg.model.pop("z_dim")
    check(cfg, ["+model.widht=3"])


def test_a_class_of_a_file_with_a_syntax_error(tmp_path, monkeypatch):
    (tmp_path / "check_broken.py").write_text("class Net:\n    def __init__(self:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"data\._target_=check_broken\.Net: .*check_broken\.py:2: "):
        check(config(data={"_target_": "check_broken.Net"}))
