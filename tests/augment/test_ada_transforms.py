"""ADA's transformations against closed forms and statistics; those of place are in test_placing.py."""

from math import pi

import pytest
import torch

from gan_lightning.augment.blit import Blit
from gan_lightning.augment.colour import Colour, recoloured
from gan_lightning.augment.corruption import Corruption
from gan_lightning.augment.filtering import BANDS, POWER, Filtering, balanced, band_taps, filtered
from gan_lightning.augment.geometric import Geometric
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


@pytest.mark.parametrize("chance", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("kind, settings, members, moved", [
    (Blit, {"rotate90": False, "shift": 0.0}, 1, 0.5), (Geometric, {"rotate": False, "stretch": 0.0, "shift": 0.0}, 1, 1),
    (Geometric, {"scale": 0.0, "stretch": 0.0, "shift": 0.0}, 1, 1), (Filtering, {}, 4, 1),
    (Colour, {"luma_flip": False, "hue": False}, 3, 1), (Corruption, {"noise": 0.0}, 1, 1), (Corruption, {}, 2, 1),
], ids=lambda value: getattr(value, "__name__", None))
def test_chance_is_a_multiple_of_p(kind, settings, members, moved, chance):
    """Each of the `members` changes an image with probability chance p, a part `moved` of them visibly; turns before
    and after have it together."""
    p, n = 0.3, 4000
    x = images(1, 3, 4).expand(n, -1, -1, -1)
    share = ((kind(**settings, chance=chance)(x, torch.tensor(p)) - x).abs() > 1e-9).flatten(1).any(1).double().mean()
    assert share.item() == pytest.approx(moved * (1 - (1 - chance * p) ** members), abs=0.03 if chance else 0)


def test_a_probability_above_1_is_1():
    x = images(200)
    for group in (Geometric(chance=3.0), Corruption(chance=3.0)):
        assert ((group(x, torch.tensor(0.5)) - x).abs() > 1e-9).flatten(1).any(1).all()


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


def test_luma_and_hue_are_a_reflection_and_a_turn():
    """I - 2 v v^T, and the exponential of v's cross product, with v = (1, 1, 1) / sqrt(3)."""
    x, third = images(6), torch.full((3, 3), 1 / 3, dtype=torch.float64)
    flipped = torch.einsum("ij,njhw->nihw", torch.eye(3) - 2 * third, x)
    assert torch.allclose(recoloured(x, **plain(x) | {"sign": each(-1)}), flipped, atol=1e-12)
    cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / 3**0.5
    turned = torch.einsum("ij,njhw->nihw", torch.linalg.matrix_exp(0.4 * cross), x)
    assert torch.allclose(recoloured(x, **plain(x) | {"angle": each(0.4)}), turned, atol=1e-12)


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
    (lambda: Filtering(-1.0), "filtering.strength=-1.0"), (lambda: Blit(chance=-1.0), "blit.chance=-1.0"),
    (lambda: Colour(chance=-1.0), "colour.chance=-1.0"),
])
def test_refused(make, message):
    with pytest.raises(ConfigError, match=f"augment.transforms.{message}: must be at least 0"):
        make()
