"""The recipe gives frozen numbers, and the features are what it says."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from gan_lightning.data.digits import Digits
from gan_lightning.data.gaussians import Ring
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.random_conv import RandomConv, random_weights

CPU = torch.device("cpu")


def made(channels):
    extractor = RandomConv()
    extractor.adopt(channels)
    return extractor


def test_weights_are_the_frozen_ones():
    weights = random_weights(1)
    assert [weight.shape for weight in weights] == [(16, 1, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3)]
    assert (weights[0][0, 0].ravel() * 1024).tolist() == [-275, 110, -9, 220, -103, 133, -37, -164, 203]
    assert made(1).fingerprint()["weights"] == "1903bc5a92f9ea8c4bbd4ef32e01709d202fe582d7934060242128017c25bbaa"
    assert made(3).fingerprint()["weights"] == "34654be6b6975154988397f93855a3d55ea10fa3f559a9dab42ebd0eec3934e8"


def by_hand(image):
    """(C, H, W) in [-1, 1], float64 -> 64 features."""
    features = []
    for stage, weight in enumerate(random_weights(len(image))):
        if stage:
            side = image.shape[-1] // 2
            image = image[:, :2 * side, :2 * side].reshape(len(image), side, 2, side, 2).mean((2, 4))
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
        image = np.abs([sum(correlate2d(x, w, mode="valid") for x, w in zip(padded, kernel, strict=True))
                        for kernel in weight.astype(np.float64)])
        features += image.mean((1, 2)).tolist()
    return features


@pytest.mark.parametrize("channels, size", [(1, 4), (3, 9), (2, 16)])
def test_features_by_hand(channels, size):
    images = torch.randint(0, 256, (3, channels, size, size), dtype=torch.uint8)
    with made(channels).loaded(CPU) as extract:
        features, logits = extract(images)
    assert logits is None and features.shape == (3, RandomConv.dim) and features.dtype == torch.float32
    for image, row in zip(images.numpy().astype(np.float64) / 127.5 - 1, features.tolist(), strict=True):
        assert row == pytest.approx(by_hand(image), rel=1e-5, abs=1e-6)


def test_ready_for_the_channels_of_the_data(tmp_path):
    data = Digits(resolution=8, channels=3, num_classes=10)
    extractor = RandomConv()
    extractor.prepare(data, Cache(tmp_path), CPU)
    assert extractor.state() == 3 and extractor.fingerprint() == made(3).fingerprint()


def test_points_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="metrics=mixture"):
        RandomConv().prepare(Ring(resolution=1, channels=2), Cache(tmp_path), CPU)
    RandomConv().check(1, 4)
