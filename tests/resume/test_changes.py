"""Going on under other settings: what is said, what is refused, and what `allow_changes` allows."""

import pytest
import torch

from gan_lightning.changes import changes
from gan_lightning.errors import CheckpointError

CONFIG = {"max_kimg": 400.0, "seed": 0, "ckpt_path": None, "model": {"z_dim": 100, "g": {"_target_": "G", "width": 8}},
          "data": {"resolution": 8, "root": "a", "num_classes": 10}, "optim": {"g": {"_target_": "Adam", "lr": 1e-3}, "ema": {"k": 1}},
          "callbacks": {"samples": {"every_kimg": 20.0, "n": 9}, "progress": {"every_seconds": 1}}, "logger": {"csv": {"path": "x"}}}


def changed(**settings) -> dict:
    new = {name: dict(value) if isinstance(value, dict) else value for name, value in CONFIG.items()}
    for setting, value in settings.items():
        *groups, name = setting.split("__")
        node = new
        for group in groups:
            node[group] = dict(node[group])
            node = node[group]
        node[name] = value
    return new


@pytest.mark.parametrize("settings, said, of_model", [
    ({}, [], False),
    ({"seed": 1}, ["seed: 0 -> 1"], False),
    ({"ckpt_path": "last", "logger": None, "callbacks__progress": None}, [], False),
    ({"max_kimg": 800.0, "callbacks__samples__every_kimg": 40.0}, ["max_kimg: 400.0 -> 800.0"], False),
    ({"callbacks__samples__every_kimg": 40.0}, ["callbacks.samples.every_kimg: 20.0 -> 40.0"], False),
    ({"optim__g__lr": 2e-3, "data__root": "b", "data__num_classes": 5},
     ["data.root: a -> b", "data.num_classes: 10 -> 5", "optim.g.lr: 0.001 -> 0.002"], False),
    ({"model__z_dim": 3}, ["model.z_dim: 100 -> 3"], True),
    ({"model__g__width": 9}, ["model.g.width: 8 -> 9"], True),
    ({"data__resolution": 16}, ["data.resolution: 8 -> 16"], True),
    ({"optim__g___target_": "SGD"}, ["optim.g._target_: Adam -> SGD"], True),
    ({"optim__ema": None}, ["optim.ema: set -> None"], True),
    ({"optim__ema": {"k": 2}}, ["optim.ema.k: 1 -> 2"], True),
    ({"model__new": None}, [], False),  # null is what a setting is that is not there
    ({"a_new_one": {"x": 1}}, [], False),  # the checkpoint is an older program's
])
def test_what_counts_as_a_change(settings, said, of_model):
    found = changes(CONFIG, changed(**settings))
    assert [str(change) for change in found] == said
    if "k: 1 -> 2" not in str(said):  # its half-life is a setting like others, its presence decides which tensors there are
        assert any(change.of_model for change in found) == of_model
    else:
        assert not any(change.of_model for change in found)


@pytest.fixture
def run(train, tmp_path):
    train("model=mlp", "max_kimg=0.032", "callbacks=default", run_dir=tmp_path / "a")
    return tmp_path / "a"


def test_changes_are_printed_a_dozen_of_them(train, run, capsys):
    train("model=mlp", "max_kimg=0.064", f"ckpt_path={run}", "callbacks=default", "optim.g.lr=5e-3", "data.batch_size=32",
          "loss=hinge")
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("changed since last.ckpt:")
    assert "  data.batch_size: 16 -> 32" in lines and "  max_kimg: 0.032 -> 0.064" in lines
    assert "  optim.g.lr: 0.0002 -> 0.005" in lines
    assert not any("every_kimg" in line or "ckpt_path" in line for line in lines[start:])
    train("model=mlp", "max_kimg=0.064", f"ckpt_path={run}", "loss=wgan_gp", "optim/decay=cosine", "model.d_norm=none")
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("changed since last.ckpt:")
    assert lines[start + 13].startswith("  and ") and lines[start + 13].endswith(" more")


def test_nothing_is_said_of_nothing(train, run, capsys):
    train("model=mlp", "max_kimg=0.064", f"ckpt_path={run}", "callbacks=default")
    assert "changed since last.ckpt:\n  max_kimg: 0.032 -> 0.064\n" in capsys.readouterr().out
    train("model=mlp", "max_kimg=0.032", f"ckpt_path={run}", "callbacks=default")
    assert "changed" not in capsys.readouterr().out


@pytest.mark.parametrize("settings, message", [
    (["model=dcgan"], "model.generator._target_ was gan_lightning.networks.mlp.Generator, is .*dcgan.Generator"),
    (["model.z_dim=20"], "model.z_dim was 100, is 20"),
    (["model.generator.output=tanh"], "model.generator.output was sigmoid, is tanh"),  # all weights would fit
    (["optim=sgd"], "optim.g._target_ was torch.optim.Adam, is torch.optim.SGD"),
    (["optim.ema=null"], "optim.ema was set, is None"),
    (["data.resolution=16"], "data.resolution was 8, is 16"),
])
def test_another_model_is_refused(train, run, settings, message):
    with pytest.raises(CheckpointError, match=f"does not fit this run: .*{message}.*allow_changes=true"):
        train("model=mlp", "max_kimg=0.064", f"ckpt_path={run}", *settings)


@pytest.mark.parametrize("settings, message", [
    (["model.z_dim=20"], r"model.z_dim was 100, is 20; .*task.g.hidden.0.weight has shape \(128, 20\), in the checkpoint "
                         r"\(128, 100\)"),
    (["optim.ema=null"], r"\(optim.ema was set, is None\): ema.network.hidden.0.weight is in the checkpoint only; .*and .* more"),
])
def test_what_is_allowed_must_still_fit(train, run, settings, message):
    with pytest.raises(CheckpointError, match=message):
        train("model=mlp", "max_kimg=0.064", f"ckpt_path={run}", "allow_changes=true", *settings)


def test_an_allowed_change_keeps_the_weights(train, run, capsys):
    module = train("model=mlp", "max_kimg=0.032", f"ckpt_path={run}", "allow_changes=true", "model.generator.output=tanh",
                   "callbacks=default")
    assert "  model.generator.output: sigmoid -> tanh" in capsys.readouterr().out
    from gan_lightning.checkpoint import read_checkpoint

    saved = read_checkpoint(run)["state_dict"]
    assert module.steps == 2 and all(torch.equal(saved[name], value) for name, value in module.state_dict().items())


def test_an_optimizer_of_another_class_starts_afresh(train, run):
    """Adam's moments mean nothing to SGD, nor SGD's to Adam."""
    module = train("model=mlp", "max_kimg=0.064", f"ckpt_path={run}", "allow_changes=true", "optim=sgd", "callbacks=default",
                   run_dir=run.with_name("b"))
    states = [set(value) for optimizer in module.trainer.optimizers for value in optimizer.state.values()]
    assert module.steps == 4 and all("exp_avg" not in state for state in states)
    back = train("model=mlp", "max_kimg=0.096", f"ckpt_path={run.with_name('b')}", "allow_changes=true")
    g = back.trainer.optimizers[1]
    assert back.steps == 6 and g.state[g.param_groups[0]["params"][0]]["step"] == 2


def test_other_data_and_another_loss_are_allowed(train, run, capsys):
    module = train("model=mlp", "max_kimg=0.064", f"ckpt_path={run}", "loss=hinge", "data.hflip=true", "trainer.precision=bf16-mixed")
    assert module.steps == 4
    said = capsys.readouterr().out
    assert "  data.hflip: False -> True" in said and "  trainer.precision: 32-true -> bf16-mixed" in said
