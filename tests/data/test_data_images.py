"""Pixels: crop, resize, colour, depth."""

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.data.images import decode, fit

random = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return random.integers(0, 256, shape, dtype=np.uint8)


def pillow(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """(h, w, c) -> (c, R, R) by Pillow's bicubic."""
    image = Image.fromarray(pixels).resize((resolution, resolution), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("resolution", [8, 20, 39, 64, 96])
def test_fit_resizes_as_pillow_does(resolution):
    pixels = noise(3, 40, 40, 3)
    mine = fit(torch.from_numpy(pixels).permute(0, 3, 1, 2), resolution, 3).numpy().astype(int)
    for image, known in zip(mine, pixels, strict=True):
        assert np.abs(image - pillow(known, resolution)).max() <= 2     # both round between their two passes


@pytest.mark.parametrize("height, width, box", [(40, 30, np.s_[5:35, :]), (30, 40, np.s_[:, 5:35])])
def test_centre_crop(height, width, box):
    pixels = noise(height, width, 3)
    expected = pixels[box].transpose(2, 0, 1)
    assert np.array_equal(decode(Image.fromarray(pixels), 30, 3), expected)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    assert np.array_equal(fit(tensor, 30, 3)[0].numpy(), expected)
    assert np.array_equal(decode(Image.fromarray(pixels), 15, 3), pillow(pixels[box], 15))


def test_halving_averages_and_does_not_pick():
    # One-pixel stripes: what does not widen its filter answers 0 or 255, an antialiased one 127.5 everywhere.
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    for got in (decode(Image.fromarray(stripes), 32, 1)[0],
                fit(torch.from_numpy(stripes)[None, None], 32, 1)[0, 0].numpy()):
        assert np.abs(got[:, 2:-2].astype(int) - 127.5).max() <= 2


def test_a_smooth_image_is_halved_as_by_a_box():
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    smooth = (127 + 60 * np.sin(x / 20) + 60 * np.cos(y / 25)).round().astype(np.uint8)
    box = smooth.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    got = decode(Image.fromarray(smooth), 32, 1)[0]
    assert np.abs(got - box)[2:-2, 2:-2].max() <= 2


def test_what_fits_is_not_touched():
    images = torch.from_numpy(noise(2, 3, 16, 16))
    assert torch.equal(fit(images, 16, 3), images)


def test_colour_to_grey_and_back_as_pillow():
    pixels = noise(50, 50, 3)
    grey = np.array(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(fit(torch.from_numpy(pixels).permute(2, 0, 1)[None], 50, 1)[0, 0].numpy(), grey)
    assert np.array_equal(decode(Image.fromarray(pixels), 50, 1)[0], grey)
    assert np.array_equal(fit(torch.from_numpy(grey)[None, None], 50, 3)[0].numpy(), np.stack([grey] * 3))


def test_16_bit_is_divided_by_257():
    values = random.integers(0, 65536, (20, 20)).astype(np.uint16)
    values[0, :4] = 0, 65535, 128, 129                  # 129 / 257 is the first above a half
    got = decode(Image.fromarray(values), 20, 1)[0]
    assert np.array_equal(got, np.floor(values.astype(np.float64) / 257 + 0.5))
    assert got[0, :4].tolist() == [0, 255, 0, 1]


def test_transparency_is_laid_on_white():
    pixels = noise(10, 10, 4)
    pixels[0, 0] = 10, 20, 30, 0
    pixels[0, 1] = 10, 20, 30, 255
    got = decode(Image.fromarray(pixels, "RGBA"), 10, 3).transpose(1, 2, 0)
    alpha = pixels[..., 3:] / 255.0
    assert np.abs(got - (pixels[..., :3] * alpha + 255 * (1 - alpha))).max() <= 1
    assert got[0, 0].tolist() == [255, 255, 255] and got[0, 1].tolist() == [10, 20, 30]


def test_grey_with_alpha():
    got = decode(Image.fromarray(np.array([[[40, 255], [40, 0]]] * 2, dtype=np.uint8), "LA"), 2, 1)
    assert got[0].tolist() == [[40, 255], [40, 255]]


def test_a_palette_with_a_transparent_colour():
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info["transparency"] = 1
    got = decode(image, 2, 3).transpose(1, 2, 0)
    assert got[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_cmyk_and_one_bit():
    assert decode(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), 2, 3)[:, 0, 0].tolist() == [0, 255, 255]
    assert decode(Image.new("1", (2, 2), 1), 2, 1)[0, 0, 0] == 255


@pytest.mark.parametrize("orientation, undo", [
    (1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud),
    (6, lambda a: np.rot90(a, -1)), (8, lambda a: np.rot90(a, 1)),
])
def test_exif_orientation(tmp_path, orientation, undo):
    pixels = noise(12, 12, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(decode(image, 12, 3), undo(pixels).transpose(2, 0, 1))
