"""ADA's transformations against exact permutations, closed forms and functions known everywhere."""

from math import pi

import pytest
import torch
import torch.nn.functional as F

from gan_lightning.augment.blit import Blit, moved
from gan_lightning.augment.colour import Colour, recoloured
from gan_lightning.augment.corruption import Corruption
from gan_lightning.augment.filtering import BANDS, POWER, Filtering, balanced, band_taps, filtered
from gan_lightning.augment.geometric import SYM6, Geometric, rotation, scaling, times, warped
from gan_lightning.augment.transform import Draw
from gan_lightning.errors import ConfigError

GROUPS = [Blit(), Geometric(), Colour(), Filtering(), Corruption()]


def images(n=6, channels=3, size=8):
    return torch.rand(n, channels, size, size, dtype=torch.float64) * 2 - 1


def each(value, n=6):
    return torch.full((n,), float(value), dtype=torch.float64)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: type(group).__name__)
def test_at_probability_0_not_a_bit_changes_and_at_1_all_do(group):
    for dtype in (torch.float32, torch.float64):
        x = images(200).to(dtype)
        assert torch.equal(group(x, torch.tensor(0.0)), x)
    changed = (group(x, torch.tensor(1.0)) != x).flatten(1).any(1)
    assert changed.double().mean() > 0.97


# Whole pixels


@pytest.mark.parametrize("size", [1, 4, 7, 8])
def test_blits_are_those_of_torch(size):
    x = images(4, 2, size)
    turns = torch.arange(4)
    expected = torch.stack([torch.rot90(image, k, (1, 2)) for k, image in enumerate(x)])
    assert torch.equal(moved(x, 0, turns, 0, 0), expected)
    assert torch.equal(moved(x, 1, 0, 0, 0), x.flip(3))
    assert torch.equal(moved(x, torch.tensor([0, 1, 0, 1]), 0, 0, 0)[1::2], x[1::2].flip(3))


@pytest.mark.parametrize("right, down", [(2, 0), (-3, 1), (0, -4), (9, -20)])
def test_moved_pixels_come_back_from_the_mirror(right, down):
    x = images(3, 1, 8)
    far = x
    for _ in range(4):  # torch's padding reaches one image at most
        far = F.pad(far, [7] * 4, mode="reflect")
    expected = far[..., 28 - down:36 - down, 28 - right:36 - right]
    assert torch.equal(moved(x, 0, 0, right, down), expected)


def test_blits_are_made_in_the_stated_order():
    x = images(1, 1, 8)
    once = torch.rot90(x.flip(3), 1, (2, 3))
    assert torch.equal(moved(x, 1, 1, 2, 0)[..., 2:], once[..., :-2])


def test_blits_in_an_oblong_image():
    x = torch.rand(2, 1, 4, 6)
    assert torch.equal(moved(x, 1, 2, 0, 0), x.flip(2))
    with pytest.raises(ConfigError, match="rotate90=true: only square .* 6 x 4"):
        Blit()(x, torch.tensor(1.0))
    assert Blit(rotate90=False)(x, torch.tensor(1.0)).shape == x.shape


@pytest.mark.parametrize("group, expected", [
    (Blit(rotate90=False, shift=0.0), 0.5), (Blit(flip=False, shift=0.0), 0.75), (Colour(0, 0, True, False, 0), 0.5),
    (Geometric(0.0, True, 0.0, 0.0), 1.0), (Geometric(0.2, False, 0.0, 0.0), 1.0),
    (Geometric(0.0, False, 0.0, 0.1), 1.0), (Colour(0.2, 0, False, False, 0), 1.0),
])
def test_how_often_images_change(group, expected):
    """`expected`: of those that a transformation falls to; rotations before and after make p together, and so do the
    two directions of a shift."""
    p, n = 0.4, 4000
    x = images(1, 3, 4).expand(n, -1, -1, -1)
    share = ((group(x, torch.tensor(p)) - x).abs() > 1e-6).flatten(1).any(1).double().mean().item()
    assert share == pytest.approx(p * expected, abs=0.03)


# Pixels in between


def test_the_filter_is_an_orthogonal_wavelet_with_6_vanishing_moments():
    taps = torch.tensor(SYM6, dtype=torch.float64)
    overlaps = [(taps[2 * k:] * taps[:12 - 2 * k]).sum().item() for k in range(6)]
    assert overlaps == pytest.approx([1, 0, 0, 0, 0, 0], abs=1e-11)
    sign = (-1.0) ** torch.arange(12)
    moments = [(sign * taps * (torch.arange(12).double() / 6 - 1) ** k).sum().item() for k in range(6)]
    assert moments == pytest.approx([0] * 6, abs=1e-10)


def test_what_is_warped_by_nothing_stays_and_whole_steps_are_exact_inside():
    x = images(6, 2, 20)
    back = torch.eye(2, dtype=torch.float64).expand(6, 2, 2)
    inner = (..., slice(8, 12), slice(8, 12))
    assert torch.allclose(warped(x, back, each(0), each(0))[inner], x[inner], atol=1e-10)
    stepped = warped(x, back, each(2), each(-1))
    assert torch.allclose(stepped[inner], moved(x, 0, 0, 2, -1)[inner], atol=1e-10)


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
    error = (warped(x, back, each(right), each(down))[0, 0] - f(source))[inside].abs().max().item()
    assert inside.sum() > 60 and error < 4e-3  # half a pixel off would be 0.15


def test_a_turn_is_clockwise():
    middle = torch.arange(-8, 9, dtype=torch.float64)
    x = (-((middle - 4) ** 2 + (middle[:, None] - 1) ** 2) / 4).exp()[None, None]  # a spot right of the middle
    turned = warped(x, rotation(torch.tensor([-pi / 2], dtype=torch.float64)), each(0, 1), each(0, 1))
    assert torch.allclose(turned, torch.rot90(x, -1, (2, 3)), atol=0.04)


def test_warped_images_stay_themselves_on_average():
    """A constant image is one wherever it is read, borders included."""
    x = torch.full((50, 1, 8, 8), 0.7, dtype=torch.float64)
    assert torch.allclose(Geometric()(x, torch.tensor(1.0)), x, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_tiny_images_can_be_warped(size):
    assert Geometric()(images(8, 1, size), torch.tensor(1.0)).isfinite().all()


# Colours


def plain(x):
    """Arguments of `recoloured` that change nothing."""
    n = len(x)
    return {"added": each(0, n), "factor": each(1, n), "sign": each(1, n), "angle": each(0, n), "chroma": each(1, n)}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_colours_in_closed_form(channels):
    x = images(6, channels)
    grey = x.mean(1, keepdim=True)
    for change, expected in [({}, x), ({"added": each(0.3)}, x + 0.3), ({"factor": each(1.7)}, 1.7 * x),
                             ({"sign": each(-1)}, x - 2 * grey), ({"chroma": each(0.2)}, grey + 0.2 * (x - grey)),
                             ({"added": each(0.3), "factor": each(1.7)}, 1.7 * (x + 0.3))]:
        assert torch.allclose(recoloured(x, **plain(x) | change), expected, atol=1e-12), change


def test_hue_turns_about_grey():
    x = images(6)
    third = recoloured(x, **plain(x) | {"angle": each(2 * pi / 3)})
    assert torch.allclose(third, x.roll(1, 1), atol=1e-12)  # red becomes green, green blue
    some = recoloured(x, **plain(x) | {"angle": each(0.4)})
    assert torch.allclose(some.mean(1), x.mean(1)) and torch.allclose(some.norm(dim=1), x.norm(dim=1))


def test_a_grey_image_in_colour_is_treated_as_a_grey_one():
    grey, p = images(50, 1), torch.tensor(1.0)
    torch.manual_seed(3)
    one = Colour(hue=False, saturation=0.0)(grey, p)
    torch.manual_seed(3)
    three = Colour()(grey.expand(-1, 3, -1, -1), p)
    assert torch.allclose(three, one.expand(-1, 3, -1, -1))


def test_bands_add_up_and_each_passes_its_own_frequencies():
    taps = band_taps()
    unit = torch.zeros(43, dtype=torch.float64).index_fill(0, torch.tensor([21]), 1.0)
    assert torch.allclose(taps.sum(0), unit, atol=1e-15)
    offset = torch.arange(-21, 22, dtype=torch.float64)
    for band, frequency in enumerate((0.0, 3 / 16, 3 / 8, 1.0)):  # of the highest one
        response = (taps * (pi * frequency * offset).cos()).sum(1)
        assert response.argmax() == band and response[band] > 0.7, (band, response)


def test_filtering_in_closed_form():
    gains = torch.tensor([[0.5, 2.0, 3.0, 4.0]], dtype=torch.float64).expand(6, -1)
    flat, stripes = torch.ones(6, 1, 8, 8, dtype=torch.float64), (-1.0) ** torch.arange(8).double()
    assert torch.allclose(filtered(flat, gains), 0.25 * flat)  # the lowest band, twice
    assert torch.allclose(filtered(flat * stripes, gains), 2.0 * flat * stripes)  # the highest and the lowest
    assert torch.allclose(filtered(x := images(), torch.ones_like(gains)), x)


def test_filtering_keeps_power():
    factor = torch.tensor([0.25, 1.0, 8.0])
    for band in range(BANDS):
        gains = balanced(factor, band)
        assert (gains.square() @ torch.tensor(POWER)).tolist() == pytest.approx([1.0] * 3)
        assert torch.allclose(gains[:, band] / gains[:, band - 1], factor)


def test_all_bands_change_together():
    x, p = torch.ones(5, 1, 8, 8, dtype=torch.float64), torch.tensor(1.0)
    torch.manual_seed(1)
    changed = Filtering()(x, p)
    torch.manual_seed(1)
    draw, lowest = Draw(x, p), torch.ones(5, dtype=torch.float64)
    for band, power in enumerate(POWER):
        factor = draw.where(draw.octaves(1.0), 1.0)
        lowest = lowest * (factor if band == 0 else 1) / (1 - power + power * factor**2).sqrt()
    assert torch.allclose(changed, lowest.square()[:, None, None, None] * x)


def test_corruption():
    p, x = torch.tensor(1.0), torch.ones(3000, 1, 8, 8)
    strength = (Corruption(0.1, 0.0)(x, p) - x).flatten(1).std(1)
    assert strength.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.06)  # of |N(0, 0.1^2)|
    assert strength.mean().item() == pytest.approx(0.1 * (2 / pi) ** 0.5, rel=0.06)
    holes = Corruption(0.0, 0.5)(x, p) == 0
    assert holes.flatten(1).sum(1).max() == 16 and holes.flatten(1).sum(1).min() >= 4


@pytest.mark.parametrize("make, message", [
    (lambda: Blit(shift=-1.0), "blit.shift=-1.0"), (lambda: Geometric(scale=-1.0), "geometric.scale=-1.0"),
    (lambda: Colour(contrast=-1.0), "colour.contrast=-1.0"), (lambda: Corruption(noise=-1.0), "corruption.noise=-1.0"),
    (lambda: Filtering(-1.0), "filtering.strength=-1.0"),
])
def test_refused(make, message):
    with pytest.raises(ConfigError, match=f"augment.transforms.{message}: must be at least 0"):
        make()
