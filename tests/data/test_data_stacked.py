"""Stacks of digits: which images they are made of, and what they are called."""

import pytest
import torch

from gan_lightning.build import instantiate
from gan_lightning.config.check import check
from gan_lightning.data.digits import Digits
from gan_lightning.data.stacked import Stacked
from gan_lightning.errors import ConfigError

LOADING = {"resolution": 8, "channels": 3, "num_classes": 1000}


def digits(**settings):
    return Digits(**{"resolution": 8, "channels": 1, "num_classes": 10} | settings)


def test_every_channel_is_a_digit_and_the_label_names_all_three():
    base = digits()
    batch = Stacked(base, n=500, **LOADING).source().take(torch.arange(500))
    assert batch["real"].shape == (500, 3, 8, 8) and batch["real"].dtype == torch.uint8
    known = {}
    for image, label in zip(base.source().real, base.source().label, strict=True):
        known.setdefault(image.numpy().tobytes(), set()).add(label.item())
    for stack, label in zip(batch["real"], batch["label"].tolist(), strict=True):
        for channel, digit in zip(stack, (label // 100, label // 10 % 10, label % 10), strict=True):
            assert digit in known[channel.numpy().tobytes()]


def test_take_depends_on_the_index_and_the_seed_alone():
    source = Stacked(digits(), n=100, **LOADING).source()
    order = torch.tensor([7, 3, 99, 7])
    some, again = source.take(order), Stacked(digits(), n=100, **LOADING).source().take(order)
    whole = source.take(torch.arange(100))
    assert all(torch.equal(some[name], again[name]) and torch.equal(some[name], whole[name][order]) for name in some)
    other = Stacked(digits(), n=100, seed=1, **LOADING).source().take(torch.arange(100))
    assert not torch.equal(whole["label"], other["label"])


def test_triples_are_drawn_evenly():
    label = Stacked(digits(), n=100_000, **LOADING).source().take(torch.arange(100_000))["label"]
    for digit in (label // 100, label // 10 % 10, label % 10):
        share = torch.bincount(digit, minlength=10) / len(label)
        base = torch.bincount(digits().source().label) / 1797
        assert (share - base).abs().max() < 5 * (0.09 / len(label)) ** 0.5
    pairs = torch.bincount(label // 10, minlength=100).view(10, 10).double() / len(label)
    assert (pairs - pairs.sum(1, keepdim=True) * pairs.sum(0)).abs().max() < 5 * (0.01 / len(label)) ** 0.5


def test_test_stacks_are_made_of_test_digits():
    base = digits(holdout=0.2)
    real = Stacked(base, n=50, **LOADING).source("test").take(torch.arange(50))["real"]
    held_out = {image.numpy().tobytes() for image in base.source("test").real}
    assert all(channel.numpy().tobytes() in held_out for channel in real.flatten(0, 1))


def test_no_labels_when_none_are_wanted():
    source = Stacked(digits(), n=10, **LOADING | {"num_classes": 0}).source()
    assert set(source.take(torch.arange(3))) == {"real"}


def test_trains_like_any_other_set():
    loader = iter(Stacked(digits(), n=100, batch_size=16, workers=0, **LOADING).loader(batches_per_step=1, seed=0))
    assert next(loader)["real"].shape == (16, 3, 8, 8)


@pytest.mark.parametrize("base, loading, message", [
    ({"num_classes": 0}, {}, "data.base.num_classes=0"),
    ({"channels": 3}, {}, "data.base.channels=3"),
    ({}, {"channels": 1}, "data.channels=1"),
    ({"resolution": 16}, {}, "data.resolution=8"),
    ({}, {"num_classes": 10}, "data.num_classes=10: stacks have 1000"),
    ({}, {"n": 0}, "data.n=0"),
])
def test_refused(base, loading, message):
    with pytest.raises(ConfigError, match=message):
        Stacked(digits(**base), **LOADING | loading)


def test_config_composes_with_any_base(config, tmp_path):
    cfg = config("data=stacked", "metrics=none", "data.base.resolution=16")
    check(cfg)
    data = instantiate(cfg.data)
    assert isinstance(data.base, Digits) and data.source().take(torch.arange(2))["real"].shape == (2, 3, 16, 16)
    mnist = config("data=stacked", "data@data.base=mnist", "metrics=none")
    check(mnist)
    assert mnist.data.base._target_.endswith("MNIST") and mnist.data.resolution == 28
    assert config("data=stacked").metrics.main == "stacked_modes"
