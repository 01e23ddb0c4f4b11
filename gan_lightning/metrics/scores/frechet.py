"""Fréchet distance between Gaussians that have the features' moments: FID, on Inception's features."""

from typing import NamedTuple

import torch
from torch import Tensor

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.statistics.moments import Moments

BLOCK = 256


class Gaussian(NamedTuple):
    """What the distance needs of a set: mean (d,), and of the covariance its trace and a factor, (d, r).

    `lower`: whether the factor is lower triangular, Cholesky's.
    """

    mean: Tensor
    trace: Tensor
    factor: Tensor
    lower: bool = False


def factor(cov: Tensor, rank: int | None = None) -> Tensor:
    """F, float64 (d, r), with F F' = `cov`: eigenvectors times roots of eigenvalues, without those that are rounding.

    `rank`: a bound on the rank of `cov`, if known: n - 1 for n samples. Where it is far below d, the range of `cov` is
    found first, as that of its product with as many random vectors (Halko et al. 2011, sec. 4.1, arXiv:0909.4061;
    exact, since no part of `cov` lies outside).
    """
    d = len(cov)
    basis = None
    if rank is not None and 2 * rank < d:
        generator = torch.Generator().manual_seed(0)
        random = torch.randn(d, rank + min(10, d - rank), generator=generator, dtype=cov.dtype).to(cov.device)
        basis = torch.linalg.qr(cov @ random).Q
        cov = basis.T @ cov @ basis
    values, vectors = torch.linalg.eigh(cov)
    kept = values > d * torch.finfo(cov.dtype).eps * values[-1].clamp(min=0)
    root = vectors[:, kept] * values[kept].sqrt()
    return root if basis is None else basis @ root


def congruence(factor: Tensor, cov: Tensor, lower: bool = False) -> Tensor:
    """F' S F, of which only the lower triangle is meant if F is lower triangular: 5/12 of the work, in blocks."""
    if not lower:
        product = factor.T @ cov @ factor
        return (product + product.T) / 2
    half, product = torch.empty_like(cov), torch.zeros_like(cov)
    for i in range(0, len(cov), BLOCK):
        half[i:i + BLOCK] = factor[i:, i:i + BLOCK].T @ cov[i:]
    for i in range(0, len(cov), BLOCK):
        product[i:, i:i + BLOCK] = half[i:, i:] @ factor[i:, i:i + BLOCK]
    return product


def frechet_distance(mean: Tensor, cov: Tensor, mean_r: Tensor, trace_r: Tensor, factor_r: Tensor,
                     rank: int | None = None, lower: bool = False) -> float:
    """|m - m_r|^2 + tr S + tr S_r - 2 tr (S S_r)^(1/2) (Dowson and Landau 1982; Heusel et al. 2017, eq. 6).

    S S_r has the eigenvalues of F' S F, which is symmetric, with S_r = F F': real roots, and as few as F has columns.
    It is 0 for equal moments up to rounding, which may be of either sign.

    Args:
        mean: (d,). cov: (d, d), S. mean_r: (d,).
        trace_r: of the other covariance, S_r. factor_r: F, (d, r), of `factor`. lower: whether F is triangular.
        rank: a bound on the rank of S, if known. The eigenvalues beyond it are 0, but rounded, and the root of 1e-16
            is 1e-8.
    """
    roots = torch.linalg.eigvalsh(congruence(factor_r, cov, lower), UPLO="L").clamp(min=0).sqrt()
    if rank is not None:
        roots = roots[max(0, len(roots) - rank):]
    return float((mean - mean_r).square().sum() + cov.trace() + trace_r - 2 * roots.sum())


def gaussian(mean: Tensor, cov: Tensor, n: int) -> Gaussian:
    """All that is costly about a set of n images, done once: Cholesky's factor if there is one, else `factor`."""
    if n > len(cov):
        root, failed = torch.linalg.cholesky_ex(cov)
        if not failed:
            return Gaussian(mean, cov.trace(), root, lower=True)
    return Gaussian(mean, cov.trace(), factor(cov, n - 1))


def distance_to(mean: Tensor, cov: Tensor, n: int, real: Gaussian) -> float:
    """`frechet_distance` of a set of n images, with the trace taken in as few dimensions as either side allows.

    With both factors known, S = G G', the roots are the singular values of F' G.
    """
    if 2 * n >= real.factor.shape[1]:
        return frechet_distance(mean, cov, real.mean, real.trace, real.factor, n - 1, real.lower)
    roots = torch.linalg.svdvals(real.factor.T @ factor(cov, n - 1))
    return float((mean - real.mean).square().sum() + cov.trace() + real.trace - 2 * roots.sum())


def real_gaussian(real: Collected) -> Gaussian:
    """Of the reals' Moments, remembered with them: fakes change at every evaluation, reals do not."""
    return real.derive("gaussian", lambda: gaussian(*real[Moments].mean_cov(), int(real[Moments].n)))


def check_counts(fake: Plan, real: Plan, least: int, why: str) -> None:
    """Raises ConfigError for fewer than `least` fakes, or fewer reals in each of the halves that the floor takes."""
    if fake.n < least:
        raise ConfigError(f"metrics.num_fake: {fake.n} fakes are too few: {why} needs at least {least}")
    if real.n < 2 * least:
        raise ConfigError(f"metrics.num_real: {real.n} reals are too few: {why} needs at least {2 * least}, "
                          f"{least} in each half of them")


class FrechetDistance(Score):
    """Fréchet distance of fakes to reals (Heusel et al. 2017, arXiv:1706.08500, eq. 6); `fid` on Inception's features.

    Biased upwards by the finite number of images, in proportion to 1/n of either set (Chong and Forsyth 2020): compare
    it at equal numbers only, and with its floor.
    """

    reads = (Moments,)
    values = {"fd": False}

    def check(self, fake: Plan, real: Plan) -> None:
        check_counts(fake, real, 2, "a Fréchet distance")

    def compute(self, fake: Collected, real: Collected) -> dict[str, float]:
        moments = fake[Moments]
        return {"fd": distance_to(*moments.mean_cov(), int(moments.n), real_gaussian(real))}

    def floor(self, half: Collected, other: Collected, n_fake: int) -> dict[str, float]:
        """Measured between halves, of n1 and n2 images, and scaled to the numbers that fakes and reals have.

        For sets of one distribution the distance is all bias, and that goes with 1/n1 + 1/n2 while both are well above
        the number of features. Fewer images than features bend the law: the true floor is then some way above this.
        """
        n1, n2 = int(half[Moments].n), int(other[Moments].n)
        scale = (1 / n_fake + 1 / (n1 + n2)) / (1 / n1 + 1 / n2)
        return {"fd": self.compute(half, other)["fd"] * scale}
