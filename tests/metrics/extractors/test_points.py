"""Points need no features."""

import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.points import Points


def test_points_are_their_own_features():
    extractor, points = Points(), torch.randn(5, 2)
    extractor.check(2, 1)
    assert (extractor.name, extractor.dim, extractor.logits) == ("", 2, 0) and extractor.fingerprint()
    with extractor.loaded(torch.device("cpu")) as extract:
        features, logits = extract(points)
    assert torch.equal(features, points) and logits is None


def test_images_are_refused():
    with pytest.raises(ConfigError, match="3 channels and 32 px: choose metrics=classifier"):
        Points().check(3, 32)
