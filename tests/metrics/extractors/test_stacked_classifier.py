"""Reading three digits at once is reading one digit three times."""

import pytest
import torch

from gan_lightning.data.digits import Digits
from gan_lightning.data.stacked import Stacked
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.classifier import Classifier
from gan_lightning.metrics.extractors.stacked_classifier import StackedClassifier
from gan_lightning.metrics.scores.stacked_modes import StackedModes
from gan_lightning.metrics.statistics.base import Features, Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.stacked_counts import StackedCounts

CPU = torch.device("cpu")
BASE = {"resolution": 8, "channels": 1, "num_classes": 10}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def data():
    return Stacked(Digits(**BASE), n=8_000, resolution=8, channels=3, num_classes=1000)


@pytest.fixture(scope="module")
def extractor(data, cache):
    made = StackedClassifier()
    made.prepare(data, cache, CPU)
    return made


def test_channels_are_read_by_the_classifier_of_single_digits(data, cache, extractor):
    stacks = data.source().take(torch.arange(20))["real"]
    single = Classifier()
    single.prepare(data.base, cache, CPU)
    assert single.fingerprint()["weights"] == extractor.fingerprint()["weights"]
    with extractor.loaded(CPU) as extract, single.loaded(CPU) as extract_one:
        features, logits = extract(stacks)
        alone = [extract_one(stacks[:, [channel]]) for channel in range(3)]
    assert (extractor.dim, extractor.logits) == (192, 0)
    assert torch.allclose(features, torch.cat([one[0] for one in alone], 1), atol=1e-5)
    assert torch.allclose(logits, torch.cat([one[1] for one in alone], 1), atol=1e-5)


def test_real_stacks_have_all_modes(data, extractor):
    plan = Plan(8_000, extractor.dim, extractor.logits, 1000)
    collected = Collected(plan, [StackedCounts])
    truth = torch.zeros(1000)
    with extractor.loaded(CPU) as extract:
        for index in torch.arange(8_000).split(2_000):
            batch = data.source().take(index)
            collected.update(Features(index, *extract(batch["real"]), batch["label"], batch["real"]))
            truth += torch.bincount(batch["label"], minlength=1000)
    values = StackedModes().compute(collected, collected)
    assert values["stacked_modes"] >= 995  # 1000 (1 - exp(-8)) on average, of true digits
    assert values["stacked_kl"] == pytest.approx(999 / 16_000, abs=0.015)
    assert (collected[StackedCounts].counts - truth).abs().sum() < 0.03 * 2 * 8_000


def test_other_data_are_refused(cache):
    with pytest.raises(ConfigError, match="choose data=stacked"):
        StackedClassifier().prepare(Digits(**BASE | {"channels": 3}), cache, CPU)
