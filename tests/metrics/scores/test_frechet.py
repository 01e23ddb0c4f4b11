"""Fréchet distance against closed forms, the nuclear norm, and torchmetrics."""

import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.scores.frechet import (
    FrechetDistance,
    Gaussian,
    distance_to,
    factor,
    frechet_distance,
    gaussian,
)
from gan_lightning.metrics.statistics.base import Plan


def normal(n, d, seed, scale=1.0, shift=0.0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=random, dtype=torch.float64) * scale + shift


def covariance(d, seed, rank=None):
    x = normal(rank or 2 * d, d, seed)
    return x.T @ x / d


def distance(mean, cov, mean_r, cov_r):
    return frechet_distance(mean, cov, mean_r, cov_r.trace(), factor(cov_r))


def by_singular_values(x, y):
    """tr (S_x S_y)^(1/2) is the nuclear norm of X Y', of the centred samples themselves: no eigenvalue is squared."""
    a, b = (z - z.mean(0) for z in (x.double(), y.double()))
    a, b = a / (len(x) - 1) ** 0.5, b / (len(y) - 1) ** 0.5
    root = torch.linalg.svdvals(a @ b.T).sum()
    return float((x.double().mean(0) - y.double().mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * root)


@pytest.mark.parametrize("d", [2, 16, 64])
def test_gaussians_that_commute(d):
    """|m - m_r|^2 + sum (s - s_r)^2 for standard deviations along common axes, which are rotated."""
    rotation = torch.linalg.qr(normal(d, d, 0)).Q
    s, s_r, mean = normal(d, 1, 1)[:, 0].abs(), normal(d, 1, 2)[:, 0].abs(), normal(d, 1, 3)[:, 0]
    cov, cov_r = ((rotation * std**2) @ rotation.T for std in (s, s_r))
    expected = mean.square().sum() + (s - s_r).square().sum()
    assert distance(mean, cov, torch.zeros_like(mean), cov_r) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("d", [2, 16, 64])
def test_gaussians_that_do_not_commute(d):
    """With S_r = A S A, A symmetric and positive, the optimal map is A: tr S + tr S_r - 2 tr(A S)."""
    cov, a = covariance(d, 0), covariance(d, 1)
    cov_r, zero = a @ cov @ a, torch.zeros(d, dtype=torch.float64)
    expected = cov.trace() + cov_r.trace() - 2 * (a @ cov).trace()
    assert distance(zero, cov, zero, cov_r) == pytest.approx(expected.item(), rel=1e-10)
    assert distance(zero, cov_r, zero, cov) == pytest.approx(expected.item(), rel=1e-10)


def test_rank_deficient_covariances_in_orthogonal_planes():
    """Nothing of the one is in the span of the other: the trace of the product is 0."""
    zero, cov, cov_r = torch.zeros(16, dtype=torch.float64), torch.zeros(16, 16).double(), torch.zeros(16, 16).double()
    cov[:5, :5], cov_r[5:, 5:] = covariance(5, 0), covariance(11, 1)
    assert distance(zero, cov, zero, cov_r) == pytest.approx((cov.trace() + cov_r.trace()).item(), rel=1e-12)
    assert distance(zero, cov, zero, cov) == pytest.approx(0, abs=1e-12)


def test_a_covariance_of_zero():
    zero, cov = torch.zeros(4, dtype=torch.float64), covariance(4, 0)
    assert distance(zero, cov, zero, torch.zeros_like(cov)) == pytest.approx(cov.trace().item())
    assert distance(zero, torch.zeros_like(cov), zero, cov) == pytest.approx(cov.trace().item())
    assert distance(zero, zero.diag(), zero + 2, zero.diag()) == pytest.approx(16)


@pytest.mark.parametrize("rank", [None, 5])
def test_factor_has_as_many_columns_as_the_rank(rank):
    cov = covariance(64, 0, rank=5)
    root = factor(cov, rank)
    assert root.shape == (64, 5)
    torch.testing.assert_close(root @ root.T, cov, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n_fake, n_real", [(400, 300), (20, 300), (400, 20), (20, 25), (90, 300), (300, 90), (2, 300),
                                            (300, 2)])
def test_fewer_samples_than_features(collected, n_fake, n_real):
    """d = 96: above, below, far below, on either side and both; features of very unequal size, as networks have."""
    size = torch.logspace(-4, 1, 96, dtype=torch.float64)
    fake, real = (normal(n_fake, 96, 0, size, 0.3) @ covariance(96, 5)), normal(n_real, 96, 1, size)
    score = FrechetDistance()
    value = score.compute(collected(score, fake), collected(score, real))["fd"]
    assert value == pytest.approx(by_singular_values(fake, real), rel=1e-8)


def test_both_ways_agree():
    """Below half of the features the fakes are factored; just above it, the reals alone."""
    fake, real = normal(30, 64, 0), normal(500, 64, 1, 2.0)
    means, covs = [x.mean(0) for x in (fake, real)], [x.T.cov() for x in (fake, real)]
    cheap = distance_to(means[0], covs[0], 30, gaussian(means[1], covs[1], 500))
    plain = distance(means[0], covs[0], means[1], covs[1])
    ranked = frechet_distance(means[0], covs[0], means[1], covs[1].trace(), factor(covs[1]), rank=29)
    assert cheap == pytest.approx(by_singular_values(fake, real), rel=1e-12)
    assert ranked == pytest.approx(cheap, rel=1e-11) and plain == pytest.approx(cheap, rel=1e-7)


@pytest.mark.parametrize("n, d", [(200, 16), (20, 64)])
def test_identical_sets(collected, n, d):
    score, x = FrechetDistance(), normal(n, d, 0, shift=2)
    assert score.compute(collected(score, x), collected(score, x))["fd"] == pytest.approx(0, abs=1e-6)


def test_closed_form_through_samples(collected):
    """Samples whitened to have exactly the moments of N(m, diag(s^2))."""
    x = normal(500, 8, 0)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    score, s = FrechetDistance(), torch.arange(1.0, 9.0, dtype=torch.float64)
    value = score.compute(collected(score, x * s + 1), collected(score, x))["fd"]
    assert value == pytest.approx(8 + (s - 1).square().sum().item(), rel=1e-10)


class Pixels(nn.Module):
    """Features of 1 x 4 x 4 images: their pixels."""

    num_features = 16

    def forward(self, x):
        return x.flatten(1).float()


def test_equals_torchmetrics(collected):
    random = torch.Generator().manual_seed(0)
    fake = torch.randint(200, (150, 1, 4, 4), generator=random, dtype=torch.uint8)
    real = torch.randint(256, (120, 1, 4, 4), generator=random, dtype=torch.uint8)
    theirs = FrechetInceptionDistance(feature=Pixels(), normalize=False)
    theirs.set_dtype(torch.float64)
    theirs.update(fake, real=False)
    theirs.update(real, real=True)
    score = FrechetDistance()
    mine = score.compute(collected(score, fake.flatten(1).float()), collected(score, real.flatten(1).float()))
    assert mine["fd"] == pytest.approx(theirs.compute().item(), rel=1e-6)


def test_floor_is_what_as_many_fresh_samples_get(collected):
    score, real = FrechetDistance(), normal(4000, 16, 0).float()
    rows = torch.randperm(4000, generator=torch.Generator().manual_seed(0))
    half, other = collected(score, real, only=rows[:2000]), collected(score, real, only=rows[2000:])
    whole = half + other
    for n in (500, 3000):
        measured = [score.compute(collected(score, normal(n, 16, 10 + seed).float()), whole)["fd"] for seed in range(5)]
        assert score.floor(half, other, n)["fd"] == pytest.approx(sum(measured) / 5, rel=0.25)


def test_real_factor_is_computed_once(collected, monkeypatch):
    from gan_lightning.metrics.scores import frechet
    calls = []
    gaussian = frechet.gaussian
    monkeypatch.setattr(frechet, "gaussian", lambda *args: calls.append(1) or gaussian(*args))
    score, real = FrechetDistance(), None
    real = collected(score, normal(100, 8, 0))
    for seed in (1, 2):
        score.compute(collected(score, normal(100, 8, seed)), real)
    assert len(calls) == 1


@pytest.mark.parametrize("d", [3, 256, 300, 700])
def test_a_triangular_factor_gives_the_same(d):
    """In blocks of 256, whole and cut; a covariance of full rank takes Cholesky's factor, a singular one does not."""
    x, y = normal(2 * d, d, 0).double(), normal(2 * d + 5, d, 1).double()
    y_mean, y_cov = y.mean(0), y.T.cov()
    quick = gaussian(y_mean, y_cov, len(y))
    assert quick.lower and torch.equal(quick.factor, quick.factor.tril())
    assert not gaussian(y_mean, y[:d // 2 + 1].T.cov(), d // 2 + 1).lower
    general = Gaussian(y_mean, y_cov.trace(), factor(y_cov))
    values = [distance_to(x.mean(0), x.T.cov(), len(x), real) for real in (quick, general)]
    assert values[0] == pytest.approx(values[1], rel=1e-10)


@pytest.mark.parametrize("n_fake, n_real, option", [(1, 100, "metrics.num_fake"), (100, 3, "metrics.num_real")])
def test_too_few_images(n_fake, n_real, option):
    with pytest.raises(ConfigError, match=option):
        FrechetDistance().check(Plan(n_fake, 8), Plan(n_real, 8))
    FrechetDistance().check(Plan(2, 8), Plan(4, 8))


def test_features_that_are_not_finite(collected):
    score, x = FrechetDistance(), normal(10, 4, 0)
    bad = x.clone()
    bad[0, 0] = torch.nan
    with pytest.raises(UserError, match="not a number"):
        score.compute(collected(score, bad), collected(score, x))
