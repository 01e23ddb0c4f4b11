"""The sweep file for Weights & Biases: what its agent would run is a command that train.py takes."""

import random
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from gan_lightning.config.check import check
from gan_lightning.metrics.scores.frechet import FrechetDistance

FILE = Path(__file__).parents[2] / "docs" / "wandb_sweep.yaml"


def draw(parameter: dict, generator: random.Random):
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return generator.choice(parameter["values"])
    assert parameter["distribution"] == "log_uniform_values"
    return parameter["min"] * (parameter["max"] / parameter["min"]) ** generator.random()


@pytest.mark.parametrize("seed", range(4))
def test_the_agents_command(config, seed):
    sweep = yaml.safe_load(FILE.read_text())
    generator = random.Random(seed)
    drawn = {name: {"value": draw(parameter, generator)} for name, parameter in sweep["parameters"].items()}
    command = create_sweep_command(list(sweep["command"]))
    assert command[:3] == ["${env}", "python", "train.py"]
    arguments = create_sweep_command_args({"args": drawn})[command[3].strip("${}")]
    cfg = config(*arguments)
    check(cfg, arguments)
    assert cfg.optim.g.lr == drawn["optim.g.lr"]["value"] and cfg.loss.n_critic == drawn["loss.n_critic"]["value"]
    assert set(cfg.logger) == {"csv", "wandb"}


def test_the_score_is_one_that_is_logged(config):
    sweep = yaml.safe_load(FILE.read_text())
    cfg = config(*(f"{name}={p['value']}" for name, p in sweep["parameters"].items() if "value" in p))
    assert cfg.metrics.main == "frechet" and cfg.metrics.extractor._target_.endswith("classifier.Classifier")
    name = next(iter(FrechetDistance.values))
    assert sweep["metric"]["name"] == f"metrics/{name}_classifier"
    assert sweep["metric"]["goal"] == ("maximize" if FrechetDistance.values[name] else "minimize")
