"""score=NAME builds the score that its file names, under metrics.scores.NAME."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from gan_lightning.metrics.scores.base import Score

FOLDER = Path(__file__).parents[3] / "conf/score"
NAMES = ("frechet", "frechet_infinity", "inception_score", "intra_class", "kernel", "prdc")


@pytest.mark.parametrize("name", NAMES)
def test_preset(name):
    path = FOLDER / f"{name}.yaml"
    score = instantiate(OmegaConf.load(path))
    assert isinstance(score, Score) and score.values and score.reads
    assert score.settings() == type(score)().settings()  # a preset states the defaults
    assert path.read_text().startswith(f"# @package metrics.scores.{name}\n# ")
