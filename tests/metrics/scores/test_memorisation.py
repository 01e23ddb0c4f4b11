"""Copies, new reals and noise, by distances that brute force agrees with."""

import numpy as np
import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.memorisation import Memorisation, TrainingFeatures
from gan_lightning.metrics.statistics.base import Features, Plan
from gan_lightning.metrics.statistics.collected import Collected

DIM = 8


def points(n, seed, dim=DIM):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def collected(x, n=None, index=None, images=None):
    """A Collected that saw x (m, d), the images `index` of a set of n."""
    index = torch.arange(len(x)) if index is None else index
    result = Collected(Plan(n or len(x), x.shape[1]), Memorisation.reads + Memorisation.reads_of_reals, images=images)
    for rows in torch.arange(len(x)).split(33):
        result.update(Features(index[rows], x[rows], None, None, torch.zeros(len(rows), 1, 2, 2, dtype=torch.uint8)))
    return result


def test_against_brute_force():
    fake, real = points(60, 1) * 0.9, points(150, 2)
    values = Memorisation(quantile=0.1, held_out=1000).compute(collected(fake), collected(real))
    to_real = torch.cdist(fake.double(), real.double()).min(1).values
    left_out = torch.cdist(real.double(), real.double()).fill_diagonal_(torch.inf).min(1).values
    assert values["memorised"] == (to_real < np.quantile(left_out.numpy(), 0.1)).double().mean()
    assert 0 < values["memorised"] < 1
    assert values["nn_ratio"] == pytest.approx((to_real.median() / left_out.median()).item(), rel=1e-9)
    assert set(values) == set(Memorisation.values)


def test_new_reals_are_as_memorised_as_the_quantile_says():
    x = points(12_000, 3)
    values = Memorisation().compute(collected(x[:6000]), collected(x[6000:]))
    assert values["memorised"] == pytest.approx(0.01, abs=0.005)
    assert values["nn_ratio"] == pytest.approx(1.0, abs=0.03)


def test_copies_of_fifty_training_images():
    real = points(2000, 4)
    for blur in (0.0, 1e-3):
        fake = real[torch.arange(1000) % 50] + blur * points(1000, 5)
        values = Memorisation().compute(collected(fake), collected(real))
        assert values["memorised"] == 1.0 and values["nn_ratio"] == pytest.approx(0.0, abs=0.01)


def test_noise_far_from_everything():
    values = Memorisation().compute(collected(10 + points(500, 6)), collected(points(2000, 7)))
    assert values["memorised"] == 0.0 and values["nn_ratio"] > 5


def test_duplicates_among_reals_do_not_hide_copies():
    """A tenth of the reals come twice, so the nearest other of the nearest 1 % is at distance 0; copies still stand out."""
    real = points(2000, 8)
    real[:200] = real[200:400]
    near_copies = real[-500:] + 1e-3 * points(500, 9)
    assert Memorisation().compute(collected(near_copies), collected(real))["memorised"] == 1.0
    assert Memorisation().compute(collected(points(500, 10)), collected(real))["memorised"] < 0.03


def test_reals_that_are_all_the_same():
    real = torch.ones(100, DIM)
    assert Memorisation().compute(collected(real[:50]), collected(real))["memorised"] == 1.0
    assert Memorisation().compute(collected(points(50, 11)), collected(real))["memorised"] == 0.0


def test_floor_is_about_the_quantile():
    x = points(8000, 12)
    half = torch.rand(8000, generator=torch.Generator().manual_seed(0)) < 0.5
    halves = [collected(x[part], 8000, part.nonzero().squeeze(1)) for part in (half, ~half)]
    floor = Memorisation().floor(*halves, n_fake=100)
    assert floor["memorised"] == pytest.approx(0.01, abs=0.006) and floor["nn_ratio"] == pytest.approx(1.0, abs=0.05)
    whole = halves[0] + halves[1]
    assert torch.equal(whole[TrainingFeatures].features(), x)


def test_few_left_out_reals_are_taken_from_all_over_the_set():
    real = torch.cat([torch.zeros(500, DIM), 100 * torch.ones(500, DIM)]) + points(1000, 13)
    few, all_of_them = (Memorisation(held_out=n)._left_out(collected(real)) for n in (100, 5000))
    assert len(few) == 100 and len(all_of_them) == 1000
    assert few.median().item() == pytest.approx(all_of_them.median().item(), rel=0.1)


def test_the_picture_shows_the_most_suspicious_first():
    """Image i of a set is all i grey levels, its feature is i; so neighbours can be read off the pixels."""
    real_value, fake_value = torch.arange(0, 200, 2), torch.tensor([199.0, 60.5, 10.0, 131.9])

    def images(values):
        return lambda index: values[index].to(torch.uint8)[:, None, None, None].expand(-1, 1, 32, 32).contiguous()

    fake = collected(fake_value[:, None], images=images(fake_value))
    real = collected(real_value[:, None].float(), images=images(real_value))
    score = Memorisation()
    score.compute(fake, real)
    picture = score.pictures(fake, real)["neighbours"]
    assert picture.shape == (4 * 33 + 1, 6 * 33 + 1, 3) and picture.dtype == np.uint8
    shown = picture[16::33, 16::33, 0].tolist()
    assert [row[0] for row in shown] == [10, 131, 60, 199]  # at distances 0, 0.1, 0.5, 1
    assert shown[0][1] == 10 and sorted(shown[0][1:]) == [6, 8, 10, 12, 14]
    assert shown[1][1:] == [132, 130, 134, 128, 136] and shown[3][1:] == [198, 196, 194, 192, 190]


def test_no_picture_of_points_nor_without_images():
    fake, real = collected(points(20, 14)), collected(points(20, 15))
    assert Memorisation().pictures(fake, real) == {}
    fake.images = real.images = lambda index: torch.zeros(len(index), 2)
    assert Memorisation().pictures(fake, real) == {}


def test_tiny_sets():
    values = Memorisation().compute(collected(points(3, 16)), collected(points(4, 17)))
    assert 0 <= values["memorised"] <= 1 and values["nn_ratio"] > 0


@pytest.mark.parametrize("settings, message", [
    ({"quantile": 0.0}, "metrics.scores.memorisation.quantile=0.0: must be above 0 and below 1"),
    ({"held_out": 0}, "metrics.scores.memorisation.held_out=0: must be at least 1"),
])
def test_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Memorisation(**settings)


def test_too_few_reals():
    with pytest.raises(ConfigError, match="needs at least 4 reals, got 3"):
        Memorisation().check(Plan(9, DIM), Plan(3, DIM))
    Memorisation().check(Plan(9, DIM), Plan(4, DIM))
