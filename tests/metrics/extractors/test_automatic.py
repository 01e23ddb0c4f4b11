"""Which extractor is chosen, and what is said about it."""

import logging

import pytest
import torch

from gan_lightning.data.digits import Digits
from gan_lightning.data.gaussians import Ring
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors import classifier_network, inception
from gan_lightning.metrics.extractors.automatic import Automatic

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path, caplog):
    def refuse(*_):
        raise OSError("no network")

    monkeypatch.setattr(inception, "download", refuse)
    monkeypatch.setattr(classifier_network, "MOST_SEEN", 6400)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    caplog.set_level(logging.INFO, "gan_lightning")


def prepared(tmp_path, num_classes=10, **settings):
    extractor = Automatic(**settings)
    extractor.prepare(Digits(resolution=8, channels=1, num_classes=num_classes), Cache(tmp_path), CPU)
    return extractor


def test_classifier_without_inception(tmp_path, caplog):
    extractor = prepared(tmp_path)
    assert (extractor.name, extractor.dim, extractor.logits, extractor.original) == ("classifier", 64, 10, False)
    assert "scores see images through classifier; not inception: its weights are not on this machine" in caplog.text
    other = Automatic()
    other.adopt(extractor.state())
    assert other.fingerprint() == extractor.fingerprint()
    images = Digits(resolution=8, channels=1).source().real[:4]
    with extractor.loaded(CPU) as one, other.loaded(CPU) as two:
        assert torch.equal(one(images)[0], two(images)[0])


@pytest.mark.parametrize("settings, reason", [
    ({"num_classes": 0}, "not classifier: this set has no labels"),
    ({"min_accuracy": 1.0}, "not classifier: the classifier is right about"),
])
def test_random_conv_without_either(tmp_path, caplog, settings, reason):
    extractor = prepared(tmp_path, **settings)
    assert (extractor.name, extractor.dim, extractor.logits) == ("random_conv", 64, 0)
    assert "scores see images through random_conv" in caplog.text and reason in caplog.text


def test_inception_if_its_weights_are_there(tmp_path, monkeypatch):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(inception, "SHA256", inception.file_sha256(weights))
    extractor = prepared(tmp_path, weights_path=str(weights))
    assert (extractor.name, extractor.dim, extractor.original) == ("inception", 2048, True)


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="weights_path"):
        prepared(tmp_path, weights_path=str(tmp_path / "nothing.pth"))


def test_points_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no extractor can look at these images"):
        Automatic().prepare(Ring(resolution=1, channels=2, num_classes=8), Cache(tmp_path), CPU)
