"""Nearest neighbours and balls against all pairs at once."""

import pytest
import torch

from gan_lightning.metrics.scores import distances
from gan_lightning.metrics.scores.distances import balls_around, inside, nearest, squared_distances


def normal(n, seed, d=9, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def all_pairs(x, y):
    return (x.double()[:, None] - y.double()).square().sum(-1).sqrt()


@pytest.fixture(params=[1 << 22, 1000], ids=["one tile", "many tiles"])
def _tile(request, monkeypatch):
    monkeypatch.setattr(distances, "TILE", request.param)


@pytest.mark.usefixtures("_tile")
@pytest.mark.parametrize("block", [None, 7])
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_nearest(block, shift):
    x, y = normal(130, 0, shift=shift), normal(210, 1, shift=shift)
    distance, index = nearest(x, y, 5, block=block)
    expected = all_pairs(x, y).sort(dim=1, stable=True)
    assert distance.dtype == torch.float64 and index.dtype == torch.int64
    torch.testing.assert_close(distance, expected.values[:, :5], rtol=1e-12, atol=0)
    assert torch.equal(index, expected.indices[:, :5])


@pytest.mark.usefixtures("_tile")
def test_no_point_is_its_own_neighbour():
    x = normal(200, 0)
    distance, index = nearest(x, x, 3, exclude_self=True)
    expected = all_pairs(x, x).fill_diagonal_(torch.inf).sort(dim=1, stable=True)
    torch.testing.assert_close(distance, expected.values[:, :3], rtol=1e-12, atol=0)
    assert torch.equal(index, expected.indices[:, :3])


@pytest.mark.usefixtures("_tile")
def test_copies_are_at_exactly_zero():
    x = normal(100, 0, shift=1e4)
    distance, index = nearest(x[[40, 3]], x, 1)
    assert distance.flatten().tolist() == [0, 0] and index.flatten().tolist() == [40, 3]
    twins = torch.cat((x, x))
    distance, index = nearest(twins, twins, 1, exclude_self=True)
    assert distance.max() == 0 and torch.equal(index[:, 0], (torch.arange(200) + 100) % 200)
    assert nearest(x[:1].expand(50, -1), x[:1].expand(60, -1), 30)[0].max() == 0


def test_as_many_neighbours_as_there_are():
    x = normal(4, 0)
    assert nearest(x, x, 3, exclude_self=True)[0].isfinite().all() and nearest(x, x, 4)[0].isfinite().all()
    with pytest.raises(ValueError, match="1 to 3"):
        nearest(x, x, 4, exclude_self=True)
    assert nearest(x[:0], x, 2)[0].shape == (0, 2)


@pytest.mark.usefixtures("_tile")
def test_balls():
    x, y = normal(120, 0), normal(150, 1)
    radii = [normal(150, 2)[:, 0].abs() * 3, normal(150, 3)[:, 0].abs() * 2]
    counts = balls_around(x, y, radii, (False, True))
    for count, radius in zip(counts, radii, strict=True):
        assert torch.equal(count, (all_pairs(x, y) <= radius.double()).sum(1)) and count.max() > 0


@pytest.mark.usefixtures("_tile")
def test_points_on_the_surface_of_a_ball():
    """On a grid of integers, far from the origin, where a product would round: the surface belongs to a closed ball."""
    x = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0)) + 1e5
    radius = torch.full((64,), 5.0)
    closed, opened = balls_around(x, x, (radius, radius), (False, True))
    pairs = all_pairs(x, x)
    assert torch.equal(closed, (pairs <= 5).sum(1)) and torch.equal(opened, (pairs < 5).sum(1))
    assert closed.sum() > opened.sum()


def test_balls_of_no_size_hold_copies_alone():
    x = normal(30, 0, shift=100)
    closed, opened = balls_around(x, x, (torch.zeros(30), torch.zeros(30)), (False, True))
    assert closed.tolist() == [1] * 30 and opened.tolist() == [0] * 30


def test_inside():
    distance, radius = torch.tensor([1.0, 1.0, 1.0]).double(), torch.tensor([1 + 1e-15, 1.1, 0.9]).double()
    assert inside(distance, radius, strict=False).tolist() == [True, True, False]
    assert inside(distance, radius, strict=True).tolist() == [False, True, False]


def test_distances_of_chosen_pairs():
    x, y = normal(20, 0), normal(30, 1)
    i, j = torch.tensor([0, 19, 3]), torch.tensor([29, 0, 3])
    torch.testing.assert_close(squared_distances(x, y, i, j), all_pairs(x, y)[i, j].square())
