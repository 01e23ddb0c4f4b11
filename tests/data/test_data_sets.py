"""digits and the Gaussian mixtures."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from gan_lightning.data.digits import Digits
from gan_lightning.data.gaussians import Grid, Ring
from gan_lightning.errors import ConfigError

DIGITS = {"resolution": 8, "channels": 1, "num_classes": 10}
POINTS = {"resolution": 1, "channels": 2}
TURN = math.pi / 4


def test_digits_are_scikit_learns():
    source, known = Digits(**DIGITS).source(), load_digits()
    assert len(source) == 1797
    batch = source.take(torch.arange(1797))
    for sixteenths, pixel in ((0, 0), (1, 16), (8, 128), (15, 239), (16, 255)):     # round(v * 255 / 16)
        assert (batch["real"][:, 0].numpy() == pixel)[known.images == sixteenths].all()
    assert batch["real"].dtype == torch.uint8
    assert np.array_equal(batch["label"].numpy(), known.target)


def test_digits_resized_as_by_pillow():
    native = Digits(**DIGITS).source().real[:50, 0].numpy()
    for resolution in (4, 32):
        real = Digits(**DIGITS | {"resolution": resolution}).source().real[:50, 0].numpy().astype(int)
        for mine, image in zip(real, native, strict=True):
            theirs = Image.fromarray(image).resize((resolution, resolution), Image.Resampling.BILINEAR)
            assert np.abs(mine - np.asarray(theirs, dtype=int)).max() <= 1


def test_digits_holdout_is_stratified_and_disjoint():
    data = Digits(holdout=0.2, **DIGITS)
    train, test = data.source("train"), data.source("test")
    assert len(train) + len(test) == 1797
    counts = torch.bincount(Digits(**DIGITS).source().label)
    assert torch.equal(torch.bincount(test.label), (0.2 * counts).round().long())
    everything = [image.numpy().tobytes() for image in (*train.real, *test.real)]
    whole = [image.numpy().tobytes() for image in Digits(**DIGITS).source().real]
    assert sorted(everything) == sorted(whole)
    assert torch.equal(test.real, Digits(holdout=0.2, **DIGITS).source("test").real)


def test_digits_without_a_test_split():
    with pytest.raises(ConfigError, match="data.holdout"):
        Digits(**DIGITS).source("test")
    with pytest.raises(ConfigError, match="data.holdout=1"):
        Digits(holdout=1.0, **DIGITS)


def test_labels_go_by_num_classes():
    assert "label" not in Digits(**DIGITS | {"num_classes": 0}).source().take(torch.arange(3))
    with pytest.raises(ConfigError, match="data.num_classes=7: this set has 10 classes"):
        Digits(**DIGITS | {"num_classes": 7}).source()


def test_three_channels_repeat_the_grey():
    source = Digits(**DIGITS | {"channels": 3}).source()
    assert source.real.shape == (1797, 3, 8, 8)
    assert torch.equal(source.real, Digits(**DIGITS).source().real.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("data, expected", [
    (Ring(num_classes=8, **POINTS), [(math.cos(k * TURN), math.sin(k * TURN)) for k in range(8)]),
    (Grid(num_classes=25, **POINTS), [(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]),
])
def test_gaussians_have_the_moments_they_claim(data, expected):
    assert torch.allclose(data.means, torch.tensor(expected, dtype=torch.float32), atol=1e-6)
    batch = data.source().take(torch.arange(100_000))
    real, label = batch["real"], batch["label"]
    assert real.shape == (100_000, 2) and real.dtype == torch.float32 and label.dtype == torch.int64
    modes = len(expected)
    share = torch.bincount(label, minlength=modes) / 100_000
    assert (share - 1 / modes).abs().max() < 5 * math.sqrt(1 / modes / 100_000)
    for k in range(modes):
        mine = (real[label == k] - data.means[k]) / data.std
        n = len(mine)
        assert mine.mean(0).abs().max() < 5 / math.sqrt(n)
        assert (mine.T @ mine / n - torch.eye(2)).abs().max() < 7 / math.sqrt(n)
    assert torch.equal(torch.cdist(real[:5000], data.means).argmin(1), label[:5000])


def test_defaults_are_the_published_ones():
    ring, grid = Ring(**POINTS), Grid(**POINTS)
    assert (ring.std, grid.std, ring.n, grid.n) == (0.01, 0.05, 100_000, 100_000)


def test_gaussians_are_drawn_from_their_seed():
    torch.manual_seed(0)
    one = Ring(n=50, seed=3, **POINTS).source()
    torch.manual_seed(1)
    assert torch.equal(one.real, Ring(n=50, seed=3, **POINTS).source().real)
    assert not torch.equal(one.real, Ring(n=50, seed=4, **POINTS).source().real)
    assert not torch.equal(one.real, Ring(n=50, seed=3, **POINTS).source("test").real)


@pytest.mark.parametrize("wrong", [{"channels": 3}, {"resolution": 8}, {"hflip": True}, {"std": 0.0},
                                   {"n": 0}])
def test_gaussians_refuse_what_points_have_not(wrong):
    with pytest.raises(ConfigError):
        Ring(**POINTS | wrong)


def test_gaussian_modes_must_agree_with_num_classes():
    with pytest.raises(ConfigError, match="data.num_classes=25: this set has 16 classes"):
        Grid(side=4, num_classes=25, **POINTS).source()
