"""Statistics are functions of the set: batches, order and halves do not matter."""

import numpy as np
import pytest
import torch

from gan_lightning.errors import UserError
from gan_lightning.metrics.statistics.base import Features, Plan
from gan_lightning.metrics.statistics.class_sums import ClassSums, split_of
from gan_lightning.metrics.statistics.moments import ClassMoments, Moments
from gan_lightning.metrics.statistics.reservoir import Reservoir

N = 211
KINDS = [Moments, ClassMoments, ClassSums, Reservoir]


class SmallReservoir(Reservoir):
    limit = 50


def made_features(n=N, d=5):
    random = torch.Generator().manual_seed(0)
    pool, logits = torch.randn(n, d, generator=random) + 3, 4 * torch.randn(n, 6, generator=random)
    return Features(torch.arange(n), pool, logits, torch.randint(3, (n,), generator=random), torch.zeros(n, 1, 1, 1))


def fed(kind, features, chunks, n=N):
    """`kind` after the rows of `features` given in `chunks`, lists of indices."""
    statistic = kind(Plan(n, features.pool.shape[1], 6, 3))
    for rows in chunks:
        statistic.update(Features(*(values[rows] for values in features)))
    return statistic


def assert_same(a, b, tolerance=1e-12):
    for name, value in a.sums().items():
        torch.testing.assert_close(value, b.sums()[name], rtol=tolerance, atol=1e-11 if tolerance else 0)


@pytest.mark.parametrize("kind", [*KINDS, SmallReservoir])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_batch_size_and_order_do_not_matter(kind, size):
    features = made_features()
    whole = fed(kind, features, [torch.arange(N)])
    shuffled = torch.randperm(N, generator=torch.Generator().manual_seed(size))
    assert_same(whole, fed(kind, features, shuffled.split(size)), 0 if issubclass(kind, Reservoir) else 1e-12)


@pytest.mark.parametrize("kind", [*KINDS, SmallReservoir])
def test_halves_add_up(kind):
    features = made_features()
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    half, other = fed(kind, features, [rows[:100], rows[:0]]), fed(kind, features, rows[100:].split(20))
    whole = fed(kind, features, [torch.arange(N)])
    assert_same(whole, half + other, 0 if issubclass(kind, Reservoir) else 1e-12)


def test_mean_and_covariance():
    features = made_features()
    mean, cov = fed(Moments, features, [torch.arange(N)]).mean_cov()
    assert np.allclose(mean, features.pool.double().mean(0), rtol=1e-13)
    assert np.allclose(cov, np.cov(features.pool.double().numpy().T), rtol=1e-12)


def test_a_large_offset_costs_no_precision_that_matters():
    pool = made_features().pool.double() + 1000
    _, cov = fed(Moments, made_features()._replace(pool=pool), [torch.arange(N)]).mean_cov()
    assert np.allclose(cov, np.cov(pool.numpy().T), rtol=1e-7, atol=1e-7)


def test_moments_of_each_class():
    features = made_features()
    moments = fed(ClassMoments, features, torch.arange(N).split(30))
    assert moments.n.tolist() == torch.bincount(features.label).tolist()
    for number in range(3):
        mean, cov = moments.mean_cov(number)
        chosen = features.pool[features.label == number].double()
        assert np.allclose(mean, chosen.mean(0)) and np.allclose(cov, np.cov(chosen.numpy().T))


def test_sums_of_probabilities():
    features = made_features()
    sums = fed(ClassSums, features, torch.arange(N).split(50))
    p = features.logits.double().softmax(1)
    order = np.random.RandomState(2020).permutation(N)
    for i in range(10):
        rows = order[i * N // 10:(i + 1) * N // 10]
        assert sums.n[i] == len(rows)
        assert torch.allclose(sums.p[i], p[rows].sum(0), rtol=1e-12)
        assert sums.p_log_p[i].item() == pytest.approx((p[rows] * p[rows].log()).sum().item(), rel=1e-12)


def test_splits_of_a_number_that_is_not_divisible():
    assert torch.bincount(split_of(23).long()).tolist() == [2, 2, 2, 3, 2, 2, 3, 2, 2, 3]


def test_a_probability_that_underflows_is_no_nan():
    logits = torch.tensor([[0.0, 1e5, -1e5, 0, 0, 0]]).repeat(N, 1)
    sums = fed(ClassSums, made_features()._replace(logits=logits), [torch.arange(N)])
    assert sums.p_log_p.tolist() == [0.0] * 10


def test_reservoir_of_a_small_set_is_the_set():
    features = made_features()
    reservoir = fed(Reservoir, features, [torch.arange(N - 1, -1, -1)])
    assert torch.equal(reservoir.features(), features.pool) and torch.equal(reservoir.numbers(), torch.arange(N))


def test_reservoir_keeps_a_random_subset_and_knows_which():
    features = made_features()
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    reservoir = fed(SmallReservoir, features, rows.split(9))
    numbers = reservoir.numbers()
    assert len(numbers) == 50 and len(numbers.unique()) == 50
    assert torch.equal(reservoir.features(), features.pool[numbers])
    assert 60 < numbers.float().mean() < 150  # from all of the set, not its beginning


def test_half_a_reservoir_has_only_its_own_rows():
    features, rows = made_features(), torch.arange(0, N, 2)
    half = fed(Reservoir, features, [rows])
    assert torch.equal(half.numbers(), rows) and torch.equal(half.features(), features.pool[rows])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind, read", [(Moments, Moments.mean_cov), (Reservoir, Reservoir.features),
                                        (ClassMoments, lambda moments: moments.mean_cov(int(made_features().label[3])))])
def test_features_that_are_not_finite_are_an_error(kind, read, value):
    features = made_features()
    features.pool[3, 2] = value
    with pytest.raises(UserError, match="not a number"):
        read(fed(kind, features, [torch.arange(N)]))


def test_no_second_copy_of_the_zeros_is_kept():
    """Neither at first nor after a move to another device: at 2,048 features it would be as large as the sums."""
    for statistic in (Moments(Plan(9, 5)), Moments(Plan(9, 5)).to("meta")):
        assert statistic.outer.shape == (5, 5) and statistic.outer.stride() == (5, 1)
        assert statistic._defaults["outer"].shape == (5, 5) and statistic._defaults["outer"].stride() == (0, 0)
    moments = Moments(Plan(9, 5))
    moments.update(made_features(9))
    moments.reset()
    assert moments.outer.stride() == (5, 1) and not moments.outer.any()
