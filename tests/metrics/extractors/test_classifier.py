"""The classifier learns, is remembered, and leaves everything around it as it was."""

import logging

import numpy as np
import pytest
import torch

from gan_lightning.data.base import ImageData
from gan_lightning.data.digits import Digits
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors import classifier_network, labelled
from gan_lightning.metrics.extractors.classifier import Classifier
from gan_lightning.metrics.extractors.classifier_network import Network, build, images_to_see, train
from gan_lightning.metrics.extractors.labelled import Labelled, read

CPU = torch.device("cpu")
DIGITS = {"resolution": 8, "channels": 1, "num_classes": 10}


class Few(ImageData):
    """Images of any kind as a data set."""

    def __init__(self, real, label=None):
        super().__init__(resolution=real.shape[-1], channels=real.shape[1],
                         num_classes=0 if label is None else int(label.max()) + 1)
        self.real, self.label = real, label

    def load(self, split):
        return InMemory(self.real, self.label)


def bright_and_dark(n=200, channels=1, resolution=8):
    label = torch.arange(n) % 2
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 100, (n, channels, resolution, resolution), generator=random,
                         dtype=torch.uint8) + 100 * label.view(-1, 1, 1, 1).byte(), label


@pytest.fixture
def short(monkeypatch):
    """Trainings of 640 images."""
    monkeypatch.setattr(classifier_network, "MOST_SEEN", 640)


def prepared(data, cache, **settings):
    extractor = Classifier(**settings)
    extractor.prepare(data, cache, CPU)
    return extractor


def test_learns_the_digits_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, "gan_lightning")
    data = Digits(holdout=0.1, **DIGITS)
    extractor = prepared(data, Cache(tmp_path))
    assert extractor.accuracy >= 0.95
    assert "classifier of 10 classes trained on 1,458 images in" in caplog.text
    test = data.source("test")
    with extractor.loaded(CPU) as extract:
        features, logits = extract(test.real)
    assert (logits.argmax(1) == test.label).float().mean() >= 0.95
    assert features.shape == (len(test), extractor.dim) and logits.shape[1] == extractor.logits == 10
    assert features.std() > 0.3 and not (features >= 0).all()


def test_second_time_from_the_cache_with_the_same_weights(tmp_path, short, monkeypatch):
    data = Few(*bright_and_dark())
    first = prepared(data, Cache(tmp_path))
    monkeypatch.setattr(classifier_network, "MOST_SEEN", 1280)  # would train another network
    second = prepared(data, Cache(tmp_path))
    assert first.fingerprint() == second.fingerprint() and len(list(tmp_path.iterdir())) == 1
    other = prepared(data, Cache(tmp_path), seed=1)
    assert other.fingerprint()["weights"] != first.fingerprint()["weights"] and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("change", ["pixel", "label"])
def test_other_data_other_classifier(tmp_path, short, change):
    real, label = bright_and_dark()
    prepared(Few(real, label), Cache(tmp_path), min_accuracy=0.0)
    if change == "pixel":
        real[17, 0, 3, 3] ^= 1
    else:
        label[17] = 1 - label[17]
    prepared(Few(real, label), Cache(tmp_path), min_accuracy=0.0)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_same_training_twice_whatever_surrounds_it():
    real, label = bright_and_dark()
    expected = train(real, label, 2, 0, CPU, seen=640).state_dict()
    torch.manual_seed(5)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        again = train(real.clone(), label.clone(), 2, 0, CPU, seen=640).state_dict()
    assert all(torch.equal(expected[name], again[name]) for name in expected)
    other = train(real, label, 2, 1, CPU, seen=640).state_dict()
    assert not torch.equal(expected["head.weight"], other["head.weight"])


def test_leaves_random_numbers_and_threads_as_they_were(tmp_path, short):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    extractor = prepared(Few(*bright_and_dark()), Cache(tmp_path))
    with extractor.loaded(CPU) as extract:
        extract(bright_and_dark()[0])
    assert torch.equal(torch_state, torch.get_rng_state()) and (numpy_state == np.random.get_state()[1]).all()
    assert (threads, precision) == (torch.get_num_threads(), torch.get_float32_matmul_precision())
    assert torch.is_grad_enabled()


def test_features_are_the_same_under_autocast_and_in_any_batch(tmp_path, short):
    real, label = bright_and_dark()
    extractor = prepared(Few(real, label), Cache(tmp_path))
    with extractor.loaded(CPU) as extract:
        whole = extract(real)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(extract(real)[0], whole)
        assert torch.allclose(torch.cat([extract(part)[0] for part in real.split(7)]), whole, atol=1e-5)


def test_state_makes_another_process_see_the_same(tmp_path, short):
    real, label = bright_and_dark()
    first, second = prepared(Few(real, label), Cache(tmp_path)), Classifier()
    second.adopt(first.state())
    assert second.fingerprint() == first.fingerprint() and (second.dim, second.logits) == (64, 2)
    with first.loaded(CPU) as one, second.loaded(CPU) as other:
        assert torch.equal(one(real)[1], other(real)[1])


@pytest.mark.parametrize("channels, resolution", [(1, 8), (3, 28), (3, 32), (1, 33), (3, 48), (3, 64), (3, 100)])
def test_any_size_ends_in_64_features(channels, resolution):
    network = build(resolution, channels, 5).eval()
    assert network.features[0].in_features <= 64 * 49
    with torch.no_grad():
        features, logits = network(torch.zeros(2, channels, resolution, resolution, dtype=torch.uint8))
    assert features.shape == (2, 64) and logits.shape == (2, 5)


def test_weights_are_drawn_from_the_seed_alone():
    torch.manual_seed(1)
    one = build(8, 1, 10).state_dict()
    torch.manual_seed(2)
    two = build(8, 1, 10).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one) and isinstance(build(8, 1, 10), Network)


def test_large_images_are_averaged_down():
    real, label = bright_and_dark(20, resolution=128)
    found = read(InMemory(real, label))
    assert found.images.shape == (20, 1, 64, 64)
    means = real.float().view(20, 1, 64, 2, 64, 2).mean((3, 5))
    assert (found.images.float() - means).abs().max() <= 0.5


def test_unlabelled_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no labels.*metrics=random_conv or metrics=fid_is") as caught:
        prepared(Few(bright_and_dark()[0]), Cache(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no labels"):
        read(InMemory(bright_and_dark()[0]))


def test_below_the_bar_is_refused(tmp_path, short):
    real, label = bright_and_dark()
    noise = torch.randint(0, 256, real.shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    for _ in range(2):  # the second time from the cache
        with pytest.raises(ConfigError, match=r"right about \d.*min_accuracy=0.85: choose metrics=random_conv"):
            prepared(Few(noise, label), Cache(tmp_path))
    prepared(Few(noise, label), Cache(tmp_path), min_accuracy=0.0)


@pytest.mark.parametrize("settings, message", [({"min_accuracy": 85}, "min_accuracy=85"), ({"seed": -1}, "seed=-1")])
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        Classifier(**settings)


@pytest.mark.parametrize("channels, resolution", [(2, 1), (1, 7), (4, 32)])
def test_images_it_cannot_look_at(channels, resolution):
    with pytest.raises(ConfigError, match="metrics=random_conv"):
        Classifier().check(channels, resolution)


def test_a_tenth_of_each_class_is_held_out():
    label = torch.tensor([0] * 100 + [1] * 30 + [2] * 2 + [3])
    found = Labelled(torch.zeros(len(label), 1, 8, 8, dtype=torch.uint8), label, "")
    train_on, test_on = found.split(0)
    assert torch.bincount(label[test_on], minlength=4).tolist() == [10, 3, 1, 0]
    assert sorted(torch.cat((train_on, test_on)).tolist()) == list(range(len(label)))
    assert torch.equal(test_on, found.split(0)[1]) and not torch.equal(test_on, found.split(1)[1])


def test_of_a_large_set_a_part_is_read(monkeypatch):
    monkeypatch.setattr(labelled, "MOST_IMAGES", 50)
    real, label = bright_and_dark()
    one, two = read(InMemory(real, label)), read(InMemory(real, label), seed=1)
    assert len(one.label) == 50 and one.hash != two.hash and one.hash == read(InMemory(real, label)).hash


def test_training_is_bounded():
    assert [images_to_see(n) for n in (10, 1617, 10**6)] == [20_000, 25_872, 100_000]
