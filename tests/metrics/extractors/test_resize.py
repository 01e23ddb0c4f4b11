"""Resizing against torch-fidelity's and Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.resize import as_rgb, check_channels, clean_bicubic, tf1_bilinear

SIZES = [(32, 32), (28, 28), (8, 8), (64, 48), (299, 299), (300, 310), (512, 400), (1, 1)]


def noise(height, width, channels=3, n=2):
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("height, width", SIZES)
def test_tf1_equals_torch_fidelity_bit_by_bit(height, width):
    images = noise(height, width)
    expected = interpolate_bilinear_2d_like_tensorflow1x(images.float(), (299, 299), align_corners=False)
    assert torch.equal(tf1_bilinear(images, 299), expected)


def test_tf1_has_no_half_pixel_offset():
    images = torch.tensor([[[[0.0, 100.0]]]])
    row = tf1_bilinear(images, 4)[0, 0, 0]
    assert row.tolist() == [0.0, 50.0, 100.0, 100.0]  # at 0, 0.5, 1, 1.5: the last has no neighbour


@pytest.mark.parametrize("height, width", SIZES)
def test_clean_equals_pillow_in_floats(height, width):
    images = noise(height, width, channels=1, n=1)
    pillow = Image.fromarray(images[0, 0].numpy().astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
    expected = np.asarray(pillow).clip(0, 255)
    found = clean_bicubic(images, 299)[0, 0].numpy()
    assert np.abs(found - expected).max() < 1e-2  # of 255: Pillow places its kernel in double precision


def test_clean_is_clamped_and_not_rounded():
    checkerboard = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2)[None, None] * 255
    resized = clean_bicubic(checkerboard.byte(), 299)
    assert resized.min() == 0 and resized.max() == 255  # bicubic overshoots at edges
    assert (resized != resized.round()).any()


@pytest.mark.parametrize("resize", [tf1_bilinear, clean_bicubic])
def test_default_dtype_has_no_part_in_it(resize):
    images = noise(20, 20)
    expected = resize(images, 299)
    torch.set_default_dtype(torch.float64)
    try:
        found = resize(images, 299)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_grey_is_repeated():
    grey = noise(4, 4, channels=1)
    assert torch.equal(as_rgb(grey), torch.cat([grey] * 3, 1))
    colour = noise(4, 4)
    assert torch.equal(as_rgb(colour), colour)


def test_channels():
    check_channels("inception", 1)
    check_channels("inception", 3)
    with pytest.raises(ConfigError, match="data.channels=2.*1 or 3"):
        check_channels("inception", 2)
