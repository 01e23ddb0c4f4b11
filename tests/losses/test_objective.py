import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.losses.adversarial import (
    Hinge,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
)
from gan_lightning.losses.objective import Objective
from gan_lightning.schedules import Linear
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.base import Term
from gan_lightning.terms.constraints import WeightClip
from gan_lightning.terms.top_k import TopK


class Seven(Term):
    def __call__(self, step):
        return torch.tensor(7.0)


def step(i=0, nimg=0, real=((1.0,),), fake=((2.0,),)):
    x = torch.zeros(1, 1)
    return Step(None, None, x, x, torch.tensor(real), torch.tensor(fake), None, Clock(i, nimg), {})


def test_sum_of_named_weighted_terms():
    objective = Objective(Wasserstein(), {"a": Seven(weight=2.0), "off": None}, {"b": Seven(weight=0.5)})
    assert {k: v.item() for k, v in objective.d_loss(step()).items()} == {"adv": 1.0, "a": 14.0}
    assert {k: v.item() for k, v in objective.g_loss(step()).items()} == {"adv": -2.0, "b": 3.5}


def test_lazy_terms_run_every_kth_step_k_times_as_strong():
    objective = Objective(Wasserstein(), {"a": Seven(weight=1.0, every=4)})
    values = [objective.d_loss(step(i)).get("a") for i in range(9)]
    assert [i for i, v in enumerate(values) if v is not None] == [0, 4, 8]
    assert values[4].item() == 28.0


def test_scheduled_weight():
    objective = Objective(Wasserstein(), {"a": Seven(weight=Linear(1.0, 0.0, kimg=2.0))})
    assert [objective.d_loss(step(nimg=n))["a"].item() for n in (0, 500, 1000, 5000)] == [7.0, 5.25, 3.5, 0.0]


def test_logits_of_unequal_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 1\).*\(1,\)"):
        Objective(NonSaturating()).d_loss(step(fake=(2.0,)))


@pytest.mark.parametrize("settings, message", [
    ({"n_critic": 0}, "loss.n_critic=0: must be at least 1"),
    ({"d_terms": {"r1": Seven(every=0)}}, "loss.d_terms.r1.every=0: must be at least 1"),
])
def test_bad_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        Objective(NonSaturating(), **settings)


def test_weight_clip():
    d = nn.Linear(3, 1)
    with torch.no_grad():
        d.weight.copy_(torch.tensor([[0.5, -0.5, 0.005]]))
    Objective(Wasserstein(), d_constraints={"clip": WeightClip(0.01), "off": None}).constrain_d(d)
    assert d.weight.tolist()[0] == pytest.approx([0.01, -0.01, 0.005])
    assert d.bias.abs().max() <= 0.01


SCORES = [[0.3], [-2.0], [4.0], [1.0], [0.5], [-0.1]]


@pytest.mark.parametrize("fraction, best", [(1.0, [0, 1, 2, 3, 4, 5]), (0.5, [2, 3, 4]), (0.4, [2, 3]), (0.01, [2])])
def test_g_learns_from_the_best_fakes(fraction, best):
    """The mean over the best: each gets 1 / k of the loss, and the others nothing."""
    at = step()._replace(fake_logits=torch.tensor(SCORES, requires_grad=True))
    loss = Objective(Hinge(), g_selects=TopK(fraction)).g_loss(at)["adv"]
    assert loss.item() == pytest.approx(-sum(SCORES[i][0] for i in best) / len(best))
    loss.backward()
    expected = [-1 / len(best) if i in best else 0.0 for i in range(6)]
    assert at.fake_logits.grad.flatten().tolist() == pytest.approx(expected)


def test_fewer_and_fewer_fakes():
    objective = Objective(Wasserstein(), g_selects=TopK(Linear(1.0, 0.5, kimg=2.0)))

    def learnt_from(nimg):
        at = step(nimg=nimg)._replace(fake_logits=torch.randn(8, 1, requires_grad=True))
        objective.g_loss(at)["adv"].backward()
        return int((at.fake_logits.grad != 0).sum())

    assert [learnt_from(nimg) for nimg in (0, 500, 1000, 1500, 2000, 9000)] == [8, 7, 6, 5, 4, 4]


def test_patches_of_a_fake_go_together():
    patches = torch.tensor([[[[9.0, -9.0]]], [[[1.0, 1.0]]]])  # the second is better on average
    assert TopK(0.5)(patches, 0).tolist() == [[[[1.0, 1.0]]]]


def test_d_learns_from_all_fakes_whatever_g_does():
    plain, selecting = Objective(Hinge()), Objective(Hinge(), g_selects=TopK(0.5))
    at = step(real=SCORES, fake=SCORES)
    assert plain.d_loss(at)["adv"] == selecting.d_loss(at)["adv"]


@pytest.mark.parametrize("loss", [RelativisticAverage, RelativisticPairing])
def test_losses_that_compare_with_reals_cannot_select(loss):
    with pytest.raises(ConfigError, match=f"loss.g_selects: {loss.__name__} compares fakes with reals"):
        Objective(loss(), g_selects=TopK(0.5))


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_fraction_of_the_best(fraction):
    with pytest.raises(ConfigError, match=f"loss.g_selects.fraction={fraction}: must be above 0"):
        TopK(fraction)


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_weight_of_g_s_adversarial_loss(weight):
    objective = Objective(Wasserstein(), {}, {"b": Seven(weight=0.5)}, g_adversarial=weight)
    assert {k: v.item() for k, v in objective.g_loss(step()).items()} == {"adv": -2.0 * weight, "b": 3.5}
    assert objective.d_loss(step())["adv"].item() == 1.0    # D's stays


@pytest.mark.parametrize("settings", [{"g_adversarial": 0.0}, {"g_adversarial": -1.0, "g_terms": {"b": Seven()}}])
def test_g_needs_something_to_learn_from(settings):
    with pytest.raises(ConfigError, match="loss.g_adversarial=.*: must be above 0, or 0 with a term"):
        Objective(Wasserstein(), **settings)
