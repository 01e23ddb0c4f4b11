"""DiffAugment against the ranges and the fillings that its paper states."""

import pytest
import torch

from gan_lightning.augment.diffaugment import DiffAugment, color, cutout, translation
from gan_lightning.errors import ConfigError


def images(n=64, channels=3, size=8):
    return torch.rand(n, channels, size, size, dtype=torch.float64) * 2 - 1


def test_without_a_policy_nothing_changes():
    x = images()
    assert DiffAugment([])(x) is x


def test_the_policy_names_what_there_is():
    with pytest.raises(ConfigError, match="augment.policy=colour: .*did you mean color"):
        DiffAugment(["colour"])


def test_color_is_affine_within_the_stated_ranges():
    """On an image with one bright channel value v and grey g elsewhere, all three parameters can be solved for."""
    x = images(4000, 3, 2)
    y = color(x)
    mean, mean_y = x.mean((1, 2, 3)), y.mean((1, 2, 3))
    brightness = mean_y - mean  # saturation and contrast keep the mean
    grey = x.mean(1) - mean[:, None, None]
    contrast = (y.mean(1) - mean_y[:, None, None]).flatten(1)[:, 0] / grey.flatten(1)[:, 0]
    saturation = (y - y.mean(1, keepdim=True)).flatten(1)[:, 0] / (x - x.mean(1, keepdim=True)).flatten(1)[:, 0] / contrast
    for values, low, high in ((brightness, -0.5, 0.5), (contrast, 0.5, 1.5), (saturation, 0.0, 2.0)):
        assert low <= values.min() + 1e-9 and values.max() - 1e-9 <= high
        width = high - low
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.03 * width)
        assert values.std().item() == pytest.approx(width / 12**0.5, rel=0.05)


def test_color_of_grey_images_is_brightness_and_contrast():
    x = images(channels=1)
    y = color(x)
    slope = (y[:, 0, 0, 0] - y[:, 0, 0, 1]) / (x[:, 0, 0, 0] - x[:, 0, 0, 1])
    shift = y.mean((1, 2, 3)) - x.mean((1, 2, 3))
    expected = x.mean((1, 2, 3), keepdim=True) + shift.view(-1, 1, 1, 1) + slope.view(-1, 1, 1, 1) * (
        x - x.mean((1, 2, 3), keepdim=True))
    assert torch.allclose(y, expected)


@pytest.mark.parametrize("size, most", [(8, 1), (16, 2), (12, 2), (4, 1)])
def test_translation_is_by_whole_pixels_and_fills_with_zeros(size, most):
    x = images(300, 2, size) + 3.0  # so that zeros are told from pixels
    y = translation(x)
    padded = torch.nn.functional.pad(x, [most] * 4)
    found = set()
    for before, after in zip(padded, y, strict=True):
        places = [(dy, dx) for dy in range(2 * most + 1) for dx in range(2 * most + 1)
                  if torch.equal(before[:, dy:dy + size, dx:dx + size], after)]
        assert len(places) == 1
        found.update(places)
    assert len(found) == (2 * most + 1) ** 2


@pytest.mark.parametrize("size, half", [(8, 4), (9, 5), (6, 3)])
def test_cutout_is_one_square_of_half_the_side(size, half):
    y = cutout(torch.ones(500, 3, size, size))
    assert torch.equal(y[:, 0], y[:, 1])
    hole = y[:, 0] == 0
    rows, columns = hole.any(2), hole.any(1)
    assert torch.equal(hole, rows[:, :, None] & columns[:, None, :])  # a rectangle
    for side in (rows, columns):
        assert side.sum(1).max() == half and side.sum(1).min() >= half // 2
    inside = rows[:, 1:-1].any(1) & ~rows[:, 0] & ~rows[:, -1]
    assert (rows[inside].sum(1) == half).all()  # cut off only by the border


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels(channels):
    x = images(4, channels)
    assert DiffAugment()(x).shape == x.shape
