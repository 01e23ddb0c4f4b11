"""Changes of place against exact permutations, the paper's recipe in plain numpy, and functions known everywhere."""

from math import cos, pi, sin

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gan_lightning.augment.ada import ADA
from gan_lightning.augment.affine import Affine, rotation, scaling, times, undoing
from gan_lightning.augment.blit import Blit, blitting
from gan_lightning.augment.colour import Colour
from gan_lightning.augment.geometric import Geometric
from gan_lightning.augment.placing import Placing
from gan_lightning.augment.warping import SYM6, copied, warped
from gan_lightning.errors import ConfigError


def images(n=6, channels=3, *size):
    return torch.randn(n, channels, *(size or (8, 8)), dtype=torch.float64) / 2


def each(value, n=6):
    return torch.full((n,), float(value), dtype=torch.float64)


def to(matrix, right, down, n=6):
    """Back from a move to the right and down, and `matrix` (2, 2)."""
    return undoing(matrix.double().expand(n, 2, 2), each(right, n), each(down, n))


def blitted(x, flip, turns, right, down):
    flip, turns, right, down = (torch.as_tensor(value).double().expand(len(x)) for value in (flip, turns, right, down))
    return copied(x, blitting(flip, turns, right, down))


# Whole pixels


@pytest.mark.parametrize("size", [1, 4, 7, 8])
def test_blits_are_those_of_torch(size):
    x = images(4, 2, size, size)
    turns = torch.arange(4)
    expected = torch.stack([torch.rot90(image, k, (1, 2)) for k, image in enumerate(x)])
    assert torch.equal(blitted(x, 0, turns, 0, 0), expected)
    assert torch.equal(blitted(x, 1, 0, 0, 0), x.flip(3))
    assert torch.equal(blitted(x, torch.tensor([0, 1, 0, 1]), 0, 0, 0)[1::2], x[1::2].flip(3))


@pytest.mark.parametrize("right, down", [(2, 0), (-3, 1), (0, -4), (9, -20)])
def test_moved_pixels_come_back_from_the_mirror(right, down):
    x = images(3, 1)
    far = x
    for _ in range(4):  # torch's padding reaches one image at most
        far = F.pad(far, [7] * 4, mode="reflect")
    expected = far[..., 28 - down:36 - down, 28 - right:36 - right]
    assert torch.equal(blitted(x, 0, 0, right, down), expected)


def test_blits_are_made_in_the_stated_order():
    x = images(1, 1)
    once = torch.rot90(x.flip(3), 1, (2, 3))
    assert torch.equal(blitted(x, 1, 1, 2, 0)[..., 2:], once[..., :-2])


def test_blits_in_an_oblong_image():
    x = images(2, 1, 4, 6)
    assert torch.equal(blitted(x, 1, 2, 0, 0), x.flip(2))
    with pytest.raises(ConfigError, match="rotate90=true: only square .* 6 x 4"):
        Blit()(x, torch.tensor(1.0))
    assert Blit(rotate90=False)(x, torch.tensor(1.0)).shape == x.shape


# Pixels in between


def test_the_filter_is_an_orthogonal_wavelet_with_6_vanishing_moments():
    taps = torch.tensor(SYM6, dtype=torch.float64)
    overlaps = [(taps[2 * k:] * taps[:12 - 2 * k]).sum().item() for k in range(6)]
    assert overlaps == pytest.approx([1, 0, 0, 0, 0, 0], abs=1e-11)
    sign = (-1.0) ** torch.arange(12)
    moments = [(sign * taps * (torch.arange(12).double() / 6 - 1) ** k).sum().item() for k in range(6)]
    assert moments == pytest.approx([0] * 6, abs=1e-10)


def recipe(image, back, pad=40):
    """Karras et al. 2020, app. B.1, of one channel (H, W): pixels mirrored, doubled, read at `back` (3, 3), halved."""
    taps = np.array(SYM6)
    middle = (taps * np.arange(12)).sum() / taps.sum()  # what pixel m spreads to has its mean at half pixel 2 m + this

    def double(a):
        zeros = np.zeros(2 * len(a))
        zeros[::2] = a
        return np.convolve(zeros, taps * 2**0.5)

    doubled = np.apply_along_axis(double, 0, np.apply_along_axis(double, 1, np.pad(image, pad, mode="reflect")))
    height, width = image.shape
    y, x = np.meshgrid(*((np.arange(2 * size + 10) - middle) / 2 - (size - 1) / 2 for size in image.shape), indexing="ij")
    x, y, _ = np.tensordot(back, np.stack([x, y, np.ones_like(x)]), 1)
    x, y = (2 * (place + (size - 1) / 2 + pad) + middle for place, size in ((x, width), (y, height)))
    c, r = np.floor(x).astype(int), np.floor(y).astype(int)
    read = sum(doubled[r + j, c + i] * (1 - abs(x - c - i)) * (1 - abs(y - r - j)) for i in (0, 1) for j in (0, 1))

    def halve(a):
        return np.convolve(a, taps[::-1] / 2**0.5, mode="valid")[::2]

    return np.apply_along_axis(halve, 0, np.apply_along_axis(halve, 1, read))


def check_recipe(result, x, back):
    """`back`: Affine, or (N, 3, 3)."""
    expected = [[recipe(channel, matrix) for channel in image]
                for image, matrix in zip(x.numpy(), homogeneous(back), strict=True)]
    np.testing.assert_allclose(result.numpy(), np.array(expected), atol=1e-10)


def homogeneous(back):
    if isinstance(back, np.ndarray):
        return back
    last = np.broadcast_to([0.0, 0.0, 1.0], (len(back.matrix), 1, 3))
    return np.concatenate([np.concatenate([back.matrix.numpy(), back.offset.numpy()[:, :, None]], 2), last], 1)


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (2, 3)])
def test_warps_are_the_papers_recipe_up_to_the_border_and_beyond(size):
    x = images(4, 1, *size)
    matrix = times(rotation(each(0.9, 4)), scaling(torch.tensor([1.0, 1.4, 0.7, 1.1]).double(), each(0.8, 4)))
    back = undoing(matrix, torch.tensor([0.0, 0.3, -9.2, 4.0]).double(), torch.tensor([0.0, 2.5, 5.1, -0.7]).double())
    check_recipe(warped(x, back), x, back)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (8, 8), (9, 6)])
@pytest.mark.parametrize("right, down", [(0, 0), (2, -1), (-5, 30)])
def test_warps_by_whole_pixels_are_copies_up_to_the_border(size, right, down):
    x, back = images(6, 2, *size), to(torch.eye(2), right, down)
    assert torch.allclose(warped(x, back), copied(x, back), atol=1e-11)
    single = warped(x.float(), Affine(*(part.float() for part in back)))
    assert torch.allclose(single, copied(x, back).float(), atol=2e-5)


WARPS = {
    "fraction": (torch.eye(2), 0.3, -1.7), "smaller": (scaling(each(1.3), each(1.3)), 0, 0),
    "stretched": (scaling(each(0.8), each(1.25)), 0.5, 0), "turned": (rotation(each(0.7)), 0, 0),
    "all": (times(rotation(each(2.5)), scaling(each(0.9), each(1.2))), 1.5, -0.4),
}


@pytest.mark.parametrize("warp", WARPS)
def test_warps_of_a_smooth_function_are_that_function_elsewhere(warp):
    """f is known between pixels: the image at o must be f(back (o - t)), where that lies within the old image."""
    back, right, down = WARPS[warp]
    back = back.double().expand(6, 2, 2)
    size, frequency = 24, torch.tensor([0.25, -0.17], dtype=torch.float64)
    middle = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    points = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), -1)  # (H, W, 2) as (x, y)

    def f(points):
        return (points @ frequency).sin()

    source = (points - torch.tensor([right, down], dtype=torch.float64)) @ back[0].T
    inside = (source.abs() < size / 2 - 4).all(-1) & (points.abs() < size / 2 - 4).all(-1)
    x = f(points).expand(6, 1, size, size)
    error = (warped(x, undoing(back, each(right), each(down)))[0, 0] - f(source))[inside].abs().max().item()
    assert inside.sum() > 60 and error < 4e-3  # half a pixel off would be 0.15


def test_a_turn_is_clockwise():
    middle = torch.arange(-8, 9, dtype=torch.float64)
    x = (-((middle - 4) ** 2 + (middle[:, None] - 1) ** 2) / 4).exp()[None, None]  # a spot right of the middle
    turned = warped(x, to(rotation(each(-pi / 2, 1))[0], 0, 0, 1))
    assert torch.allclose(turned, torch.rot90(x, -1, (2, 3)), atol=0.04)


def test_warped_images_stay_themselves_on_average():
    """A constant image is one wherever it is read, borders included."""
    x = torch.full((50, 1, 8, 8), 0.7, dtype=torch.float64)
    assert torch.allclose(Geometric()(x, torch.tensor(1.0)), x, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_tiny_images_can_be_warped(size):
    assert Geometric()(images(8, 1, size, size), torch.tensor(1.0)).isfinite().all()


# Groups in a row


class Fixed(Placing):
    """The same change to all images."""

    def __init__(self, back, whole=False):
        super().__init__()
        self.fixed, self.whole = back, whole

    def back(self, draw):
        draw.where(torch.ones_like(draw.changed), False)
        return self.fixed


def test_a_moved_image_made_smaller_is_read_once():
    """Moved by 3 pixels to the left, then 0.88 of its size: o comes from o / 0.88 + (3, 0). Made in two steps, pixels
    near the border differ by about half the image's std."""
    x = images(6, 1, 16, 16)
    move, smaller = Fixed(to(torch.eye(2), -3, 0), whole=True), Fixed(to(torch.eye(2).double() / 0.88, 0, 0))
    once = ADA({"move": move, "smaller": smaller}, p=1.0)(x)
    check_recipe(once, x, np.tile([[1 / 0.88, 0, 3], [0, 1 / 0.88, 0], [0, 0, 1]], (6, 1, 1)))
    twice = smaller(move(x, torch.tensor(1.0)), torch.tensor(1.0))
    assert (twice - once).square().mean().sqrt() > 0.1
    colour_between = ADA({"move": move, "colour": Colour(chance=0.0), "smaller": smaller}, p=1.0)(x)
    assert torch.equal(colour_between, twice)


def test_the_first_group_is_the_first_change():
    """Turned by a quarter to the left, and then moved to the right by 2.5 pixels; and the other way round."""
    x = images(6, 1)
    turn = Fixed(blitting(each(0), each(1), each(0), each(0)), whole=True)
    move = Fixed(to(torch.eye(2), 2.5, 0))
    check_recipe(ADA({"turn": turn, "move": move}, p=1.0)(x), x, np.tile([[0, -1, 0], [1, 0, -2.5], [0, 0, 1.0]], (6, 1, 1)))
    check_recipe(ADA({"move": move, "turn": turn}, p=1.0)(x), x, np.tile([[0, -1, -2.5], [1, 0, 0], [0, 0, 1.0]], (6, 1, 1)))


def test_drawn_changes_are_made_as_one():
    """Each image by its own product of matrices; copied to the last bit where only whole pixels move."""
    x, p = images(40, 1), torch.tensor(0.3)
    blit, geometric = Blit(), Geometric()
    torch.manual_seed(5)
    result = ADA({"blit": blit, "geometric": geometric}, p=0.3)(x)
    torch.manual_seed(5)
    draws = [group.draw(x, p) for group in (blit, geometric)]
    first, second = (group.back(draw) for group, draw in zip((blit, geometric), draws, strict=True))
    between, whole = draws[1].changed, draws[0].changed & ~draws[1].changed
    assert between.sum() > 5 and whole.sum() > 5 and (between & draws[0].changed).sum() > 5
    assert torch.equal(result[~between], copied(x, first)[~between])
    assert torch.equal(result[~between & ~whole], x[~between & ~whole])
    check_recipe(result[between], x[between], (homogeneous(first) @ homogeneous(second))[between.numpy()])


def test_maps_in_a_row_are_products_of_matrices():
    a, b = (Affine(torch.randn(5, 2, 2).double(), torch.randn(5, 2).double()) for _ in range(2))
    np.testing.assert_allclose(homogeneous(a.after(b)), homogeneous(a) @ homogeneous(b), atol=1e-13)
    x, y = a.of(torch.tensor([2.0]).double(), torch.tensor([-3.0, 1.0]).double())
    expected = homogeneous(a) @ [[2.0, 2.0], [-3.0, 1.0], [1, 1]]
    np.testing.assert_allclose(torch.stack([x, y], 1)[..., 0].numpy(), expected[:, :2], atol=1e-13)


def test_a_geometric_change_is_made_in_the_papers_order():
    """Scaled, turned, stretched, turned, moved: this product, from the numbers that are drawn."""
    x, p, seed = images(5, 1), torch.tensor(1.0), 3
    torch.manual_seed(seed)
    group = Geometric()
    back = homogeneous(group.back(group.draw(x, p)))
    torch.manual_seed(seed)
    draw, always = group.draw(x, p), torch.ones(5, dtype=torch.float64)
    size = draw.where(draw.octaves(0.2), 0.0)
    before = draw.where(draw.uniform(-pi, pi), 0.0)
    width = draw.where(draw.octaves(0.2), 0.0)
    after = draw.where(draw.uniform(-pi, pi), 0.0)
    draw.where(always, 0.0)
    right, down = draw.normal(0.125) * 8, draw.normal(0.125) * 8

    def turn(angle):
        return np.array([[cos(angle), -sin(angle), 0], [sin(angle), cos(angle), 0], [0, 0, 1]])

    for i in range(5):
        there = (np.array([[1, 0, right[i]], [0, 1, down[i]], [0, 0, 1]]) @ turn(after[i])
                 @ np.diag([width[i], 1 / width[i], 1]) @ turn(before[i]) @ np.diag([size[i], size[i], 1]))
        np.testing.assert_allclose(back[i] @ there, np.eye(3), atol=1e-12)
