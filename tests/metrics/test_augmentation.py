"""What fakes are worth to a classifier, for fakes whose worth is known."""

import pytest
import torch

from gan_lightning.data.base import ImageData
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError
from gan_lightning.metrics import augmentation
from gan_lightning.metrics.augmentation import augmentation_accuracies
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.table import table

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(augmentation, "images_to_see", lambda n: 1280)


def bars(n, seed, wrong=False):
    """Class k: a bright row k, 4 classes, on noise."""
    random = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 4
    real = torch.randint(0, 120, (n, 1, 8, 8), generator=random, dtype=torch.uint8)
    real[torch.arange(n), 0, 2 * label] += 100
    return InMemory(real, (label + 1) % 4 if wrong else label)


def test_good_fakes_and_wrong_ones():
    real, held_out = bars(200, 0), bars(200, 1)
    good = augmentation_accuracies(real, bars(200, 2), held_out, 0, CPU, seeds=2)
    assert set(good) == {f"{kind}_{on}" for kind in ("accuracy", "spread") for on in ("real", "fake", "both")}
    assert min(good[f"accuracy_{on}"] for on in ("real", "fake", "both")) > 0.95
    wrong = augmentation_accuracies(real, bars(200, 2, wrong=True), held_out, 0, CPU, seeds=1)
    assert wrong["accuracy_fake"] < 0.05 and wrong["spread_fake"] == 0
    assert wrong["accuracy_real"] > 0.95 and wrong["accuracy_both"] < 0.9


def test_the_same_twice():
    sets = bars(100, 0), bars(60, 2), bars(100, 1)
    torch.manual_seed(1)
    one = augmentation_accuracies(*sets, 0, CPU, seeds=1)
    torch.manual_seed(2)
    assert one == augmentation_accuracies(*sets, 0, CPU, seeds=1)


def test_refused():
    real, unlabelled = bars(50, 0), InMemory(bars(50, 0).real)
    with pytest.raises(ConfigError, match="no labels"):
        augmentation_accuracies(unlabelled, real, real, 0, CPU)
    with pytest.raises(ConfigError, match="fakes have no labels.*model.conditional=true"):
        augmentation_accuracies(real, unlabelled, real, 0, CPU)
    rgb = InMemory(real.real.expand(-1, 3, -1, -1), real.label)
    with pytest.raises(ConfigError, match=r"the same channels.*fake \(3, 8, 8\)"):
        augmentation_accuracies(real, rgb, real, 0, CPU)


class Bars(ImageData):
    """100 to train on and, if `tests`, 80 to test on."""

    def __init__(self, tests=True, num_classes=4):
        super().__init__(resolution=8, channels=1, num_classes=num_classes)
        self.tests = tests

    def load(self, split):
        if split == "test" and not self.tests:
            raise ConfigError("no test split")
        return bars(80, 1) if split == "test" else bars(100, 0)


@pytest.mark.parametrize("tests, trained, where", [(True, 100, "test split"), (False, 92, "a tenth of the train split")])
def test_as_metrics_of_evaluate(tests, trained, where):
    data, measured = Bars(tests), augmentation.Augmentation(seeds=1)
    measured.prepare(data)
    assert measured.num_fake == len(measured.reals(data).indices) == trained
    result = measured.measure(ImageSet(bars(60, 2), torch.arange(60), 4), data)
    assert result.seconds > 0 and result.deciding == []
    assert result.main == "accuracy_both" and result.values()["accuracy_fake"] > 0.95
    scored = result.scores["accuracy_fake"]
    assert scored.reals == result.values()["accuracy_real"] and scored.higher_is_better
    assert scored.fingerprint["tested_on"] == where and scored.fingerprint["num_fake"] == 60
    assert "60 samples" in table({"run": result})


def test_unlabelled_data_are_refused_before_any_work():
    with pytest.raises(ConfigError, match="no labels"):
        augmentation.Augmentation().prepare(Bars(num_classes=0))
