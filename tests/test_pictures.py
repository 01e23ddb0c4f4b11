import io

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.pictures import figure_png, grid, new_figure, picture, save_png, scatter, to_uint8


def test_every_level_survives():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels)


def test_rounding_and_clamping():
    values = torch.tensor([-9.0, -1.0, 0.0, 1.0, 1.01, 9.0, 0.4 / 127.5, 0.6 / 127.5])
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 255, 128, 128]  # 127.5 rounds to even, 128
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]))


def test_grid_puts_images_in_rows():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 32, 32)
    pixels = grid(images, columns=3)
    assert pixels.shape == (2 * 33 + 1, 3 * 33 + 1, 3)
    assert [[pixels[1 + 33 * r, 1 + 33 * c, 0] for c in range(3)] for r in range(2)] == [[0, 1, 2], [3, 4, 5]]
    assert pixels[0].min() == 255


def test_small_images_are_enlarged_without_blurring():
    images = torch.tensor([[[[10, 20], [30, 40]]]], dtype=torch.uint8)
    pixels = grid(images)
    assert set(np.unique(pixels)) == {10, 20, 30, 40, 255}
    assert pixels.shape == (34, 34, 3)


def test_colour():
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    images[:, 1] = 200
    assert grid(images)[5, 5].tolist() == [0, 200, 0]


def test_scatter_shows_where_the_points_are():
    left, right = torch.tensor([[-1.0, 0.0]]).repeat(50, 1), torch.tensor([[1.0, 0.0]]).repeat(50, 1)
    frame = torch.tensor([[-2.0, -2.0], [2.0, 2.0]])

    def blue(points):  # columns with blue pixels, leaving out the legend
        pixels = scatter(points, frame).astype(int)[200:]
        return np.where((pixels[..., 2] - pixels[..., 0] > 60).any(0))[0].mean()

    assert blue(left) < blue(right) - 50
    assert picture(left, reals=frame).ndim == 3


def test_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    save_png(tmp_path / "new" / "a.png", pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), pixels)
    assert Image.open(io.BytesIO(figure_png(new_figure(2, 1)))).size == (220, 110)
