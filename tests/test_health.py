"""Judgements on made-up runs, and measurements against what is known of the distributions."""

import math

import pytest
import torch

from gan_lightning.health import Health, Look, energy_distance, mean_distance, share_of_pairs

LOOKS = 40


def run(health=None, **tracks):
    """Every alarm of a run, as (look, kind). Each track is a number, or a function of the look's number."""
    health = health or Health()
    usual = {"accuracy": 0.8, "gap": 1.0, "diversity": 0.95, "distance": 0.05}
    told = []
    for i in range(LOOKS):
        values = {name: track(i) if callable(track) else track for name, track in (usual | tracks).items()}
        told += [(i, kind) for kind in health.judge(Look(100 * (i + 1), (i + 1) / LOOKS, **values))]
    return told


def learning(i):
    return 0.9 * 0.85**i


@pytest.mark.parametrize("tracks", [
    {},
    {"accuracy": 1.0, "distance": learning},                               # D is always right, and G learns from it
    {"diversity": lambda i: 0.05 + 0.03 * i, "distance": learning},        # fakes are alike at first
    {"accuracy": 1.0, "distance": 0.02},                                   # D knows reals by heart, fakes are good
    {"accuracy": math.nan, "distance": 0.9},                               # a Wasserstein critic
    {"diversity": lambda i: 0.1 if i % 4 == 2 else 0.9},                   # a look now and then is no streak
    {"accuracy": lambda i: 0.9 if i % 4 == 2 else 1.0, "distance": 0.9},
    {"diversity": math.nan, "distance": math.nan},                         # reals that are all the same
    {"gap": -5e3},
], ids=range(9))
def test_nothing_to_tell(tracks):
    assert run(**tracks) == []


def test_collapse_is_told_once_after_looks_that_agree():
    assert run(diversity=lambda i: 0.9 if i < 10 else 0.05, distance=lambda i: 0.05 if i < 10 else 0.8) == [
        (13, "collapse")]


def test_fakes_that_never_differed_are_a_collapse_once_the_run_has_settled():
    assert run(diversity=0.01, distance=0.9) == [(4 + 3, "collapse")]  # from 500 rounds on, four looks
    assert run(Health(settle=0.5), diversity=0.01, distance=0.9) == [(19 + 3, "collapse")]
    assert run(Health(settle_steps=2000), diversity=0.01, distance=0.9) == [(19 + 3, "collapse")]


def test_a_discriminator_that_has_won():
    assert run(accuracy=1.0, distance=0.9) == [(4 + 3, "won")]
    assert run(accuracy=1.0, distance=lambda i: 0.9 * 0.995**i) == [(4 + 3, "won")]  # too slow to matter
    assert run(accuracy=lambda i: 0.8 if i < 20 else 1.0, distance=0.5) == [(23, "won")]


@pytest.mark.parametrize("gap", [2e5, -2e5, math.inf])
def test_logits_out_of_bounds(gap):
    health = Health()
    assert run(health, gap=lambda i: gap if i == 3 else 1.0) == [(3, "diverged")]


def test_a_diverged_run_is_nothing_else():
    assert run(gap=1e6, accuracy=1.0, diversity=0.0, distance=2.0) == [(0, "diverged")]


def test_words():
    words = Health().judge(Look(9, 0.1, 1.0, 3e7, 0.0, 1.0))
    assert words == {"diverged": "diverged: the logits of reals and fakes are 3.0e+07 apart"}


def test_well_is_a_look_without_a_beginning_of_an_alarm():
    health = Health()
    assert not health.well
    for look, well in (((600, 0.2, 0.8, 1, 0.9, 0.1), True), ((700, 0.2, 0.8, 1, 0.1, 0.9), False),
                       ((800, 0.2, 0.8, 1e6, 0.9, 0.1), False), ((900, 0.2, 1.0, 1, 0.9, 0.9), False),
                       ((900, 0.2, 1.0, 1, 0.9, 0.09), True)):
        health.judge(Look(*look))
        assert health.well == well, look


@pytest.mark.parametrize("stop", [1, 11, 12, 14])
def test_goes_on_from_its_state(stop):
    def judged(i):
        return Look(100 * i, i / LOOKS, 0.8, 1.0, 0.9 if i < 10 else 0.05, 0.05 if i < 10 else 0.8)

    health, told = Health(), []
    for i in range(LOOKS):
        if i == stop:
            state = health.state_dict()
            health = Health()
            health.load_state_dict(state)
        told += [(i, kind) for kind in health.judge(judged(i))]
    assert told == [(13, "collapse")]


def test_state_is_plain():
    health = Health()
    run(health)
    state = health.state_dict()
    assert all(type(look) is list for look in state["recent"]) and len(state["recent"]) == 4


def test_share_of_pairs_against_all_pairs():
    real, fake = torch.randint(0, 9, (50, 1)).float(), torch.randint(0, 9, (70, 1, 2, 2)).float()  # with many ties
    difference = real.flatten()[:, None] - fake.flatten()
    expected = ((difference > 0).float() + (difference == 0).float() / 2).mean()
    assert share_of_pairs(real, fake).item() == pytest.approx(expected.item(), abs=1e-6)
    assert share_of_pairs(real + 100, fake) == 1 and share_of_pairs(real - 100, fake) == 0


def test_mean_distance():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert mean_distance(x).item() == pytest.approx((5 + 0 + 5) / 3)
    assert mean_distance(torch.full((64, 3, 8, 8), 0.3)) == 0  # exactly: nothing differs


def test_distance_within_classes_tells_one_sample_per_class():
    label = torch.arange(64) % 4
    one_each = torch.randn(4, 10)[label]
    assert mean_distance(one_each) > 1 and mean_distance(one_each, label) == 0
    assert mean_distance(one_each, torch.arange(64)) == mean_distance(one_each)  # no two of a class: labels say nothing


def test_energy_distance():
    x, y = torch.randn(2, 1000, 5).double()
    assert energy_distance(x, y).item() == pytest.approx(0.0, abs=0.01)
    far = energy_distance(x + 100, y).item()  # 2 * 100 sqrt(5) over E|y - y'|
    assert far == pytest.approx((2 * 100 * 5**0.5 - 2 * mean_distance(y).item()) / mean_distance(y).item(), rel=0.01)
    values = [energy_distance(x * scale, y).item() for scale in (0.0, 0.5, 0.8)]
    assert values == sorted(values, reverse=True)
