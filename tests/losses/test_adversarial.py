"""Every loss at logits whose value and gradient are worked out by hand."""

from math import exp, log

import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.losses.adversarial import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
)

ALL = [Minimax, NonSaturating, LeastSquares, Hinge, Wasserstein, RelativisticAverage, RelativisticPairing]
R, F = [2.0, -0.5], [1.0, -3.0]  # two reals, two fakes
REAL, FAKE = torch.tensor(R)[:, None], torch.tensor(F)[:, None]


def s(x: float) -> float:
    return 1 / (1 + exp(-x))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


D_LOSS = {
    Minimax: -mean(log(s(r)) for r in R) - mean(log(1 - s(f)) for f in F),
    NonSaturating: -mean(log(s(r)) for r in R) - mean(log(1 - s(f)) for f in F),
    LeastSquares: (((2 - 1) ** 2 + (-0.5 - 1) ** 2) / 2 + (1 + 9) / 2) / 2,
    Hinge: mean([0.0, 1.5]) + mean([2.0, 0.0]),
    Wasserstein: -1.0 - 0.75,
    RelativisticAverage: -mean(log(s(r + 1.0)) for r in R) - mean(log(1 - s(f - 0.75)) for f in F),
    RelativisticPairing: -mean(log(s(r - f)) for r, f in zip(R, F, strict=True)),
}
G_LOSS = {
    Minimax: mean(log(1 - s(f)) for f in F),
    NonSaturating: -mean(log(s(f)) for f in F),
    LeastSquares: (0 + 16) / 2 / 2,
    Hinge: 1.0,
    Wasserstein: 1.0,
    RelativisticAverage: -mean(log(s(f - 0.75)) for f in F) - mean(log(1 - s(r + 1.0)) for r in R),
    RelativisticPairing: -mean(log(s(f - r)) for r, f in zip(R, F, strict=True)),
}
G_GRADIENT = {  # d g_loss / d fake_logit, one per fake
    Minimax: [-s(f) / 2 for f in F],
    NonSaturating: [-(1 - s(f)) / 2 for f in F],
    LeastSquares: [(f - 1) / 2 for f in F],
    Hinge: [-0.5, -0.5],
    Wasserstein: [-0.5, -0.5],
    # each fake also moves the mean that every real is compared with
    RelativisticAverage: [-(1 - s(f - 0.75)) / 2 - mean(s(r + 1.0) for r in R) / 2 for f in F],
    RelativisticPairing: [-(1 - s(f - r)) / 2 for r, f in zip(R, F, strict=True)],
}


@pytest.mark.parametrize("loss", ALL)
def test_values(loss):
    assert loss().d_loss(REAL, FAKE).item() == pytest.approx(D_LOSS[loss], rel=1e-6)
    assert loss().g_loss(FAKE, REAL).item() == pytest.approx(G_LOSS[loss], rel=1e-6)


@pytest.mark.parametrize("loss", ALL)
def test_gradient_of_g(loss):
    fake = FAKE.clone().requires_grad_()
    loss().g_loss(fake, REAL).backward()
    assert fake.grad.flatten().tolist() == pytest.approx(G_GRADIENT[loss], rel=1e-5)


def test_each_loss_moves_g_differently():
    # Hinge and Wasserstein share G's loss and differ in D's; all others are distinct.
    gradients = {loss: tuple(round(g, 6) for g in G_GRADIENT[loss]) for loss in ALL if loss is not Hinge}
    assert len(set(gradients.values())) == len(gradients)


@pytest.mark.parametrize("loss", ALL)
def test_d_prefers_to_score_reals_above_fakes(loss):
    real, fake = torch.zeros(4, 1, requires_grad=True), torch.zeros(4, 1, requires_grad=True)
    loss().d_loss(real, fake).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all() or loss is LeastSquares and (fake.grad == 0).all()  # 0 is its label for fakes


@pytest.mark.parametrize("loss", ALL)
def test_g_prefers_higher_scores(loss):
    fake = torch.zeros(4, 1, requires_grad=True)
    loss().g_loss(fake, torch.zeros(4, 1)).backward()
    assert (fake.grad < 0).all()


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("real, fake", [(1e4, -1e4), (-1e4, 1e4)])
def test_extreme_logits(loss, real, fake):
    real, fake = torch.tensor([[real]], requires_grad=True), torch.tensor([[fake]], requires_grad=True)
    d_loss, g_loss = loss().d_loss(real, fake), loss().g_loss(fake, real)
    exact = loss().d_loss(real.double(), fake.double())
    assert d_loss.item() == pytest.approx(exact.item(), rel=1e-6)
    (d_loss + g_loss).backward()
    assert all(torch.isfinite(x).all() for x in (d_loss, g_loss, real.grad, fake.grad))


@pytest.mark.parametrize("loss", [Minimax, NonSaturating])
def test_one_sided_label_smoothing(loss):
    smooth = loss(label_smoothing=0.1).d_loss(REAL, FAKE).item()
    expected = (-mean(0.9 * log(s(r)) + 0.1 * log(1 - s(r)) for r in R) - mean(log(1 - s(f)) for f in F))
    assert smooth == pytest.approx(expected, rel=1e-6)
    best = torch.tensor([[log(9.0)]], requires_grad=True)  # where s = 0.9, D has nothing to gain
    loss(label_smoothing=0.1).d_loss(best, FAKE[:1]).backward()
    assert best.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_label_smoothing_out_of_range():
    with pytest.raises(ConfigError, match="loss.adversarial.label_smoothing=0.7: must be in"):
        NonSaturating(label_smoothing=0.7)


@pytest.mark.parametrize("loss", ALL)
def test_patch_logits(loss):
    """One score per patch is the mean over patches, paired patch by patch."""
    patches = loss().d_loss(REAL.view(1, 1, 2, 1), FAKE.view(1, 1, 2, 1))
    assert patches.item() == pytest.approx(D_LOSS[loss], rel=1e-6)
