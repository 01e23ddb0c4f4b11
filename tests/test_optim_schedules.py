"""Learning rates, Adam's second beta and the average's half-life as functions of the images seen."""

import math

import pytest
import torch

from gan_lightning.build import build_module, build_optim
from gan_lightning.errors import ConfigError
from gan_lightning.optim import Optimisation
from gan_lightning.schedules import Constant, Cosine, Linear

COSINE = "gan_lightning.schedules.Cosine"
R3GAN = ["model=mlp", "loss=rpgan", "optim/decay=cosine", "optim.decay.end=0.25", "optim.decay.kimg=0.096",
         f"optim.beta2={{_target_: {COSINE}, start: 0.9, end: 0.99, kimg: 0.096}}",
         f"optim.ema.half_life_kimg={{_target_: {COSINE}, start: 0.0, end: 0.05, kimg: 0.096}}", "optim.ema.rampup=null",
         f"loss.d_terms.r1.weight={{_target_: {COSINE}, start: 0.05, end: 0.005, kimg: 0.096}}"]
"""What R3GAN's paper schedules, over 6 rounds of 16 images in place of 20 million images."""


def groups(module) -> list[dict]:
    return [group for optimizer in module.trainer.optimizers for group in optimizer.param_groups]


@pytest.mark.parametrize("rounds", [1, 4, 8])
def test_values_reach_the_optimizers(train, rounds):
    module = train(*R3GAN, f"max_kimg={0.016 * rounds}")
    nimg = 16 * (rounds - 1)    # seen when the last round began
    left = (1 + math.cos(math.pi * min(nimg / 96, 1))) / 2
    assert module.nimg == 16 * rounds
    for group in groups(module):
        assert group["lr"] == pytest.approx(5e-5 + (2e-4 - 5e-5) * left, rel=1e-9)
        assert group["betas"] == pytest.approx((0.0, 0.99 - 0.09 * left), rel=1e-9)


def test_a_constant_schedule_is_the_plain_setting(train):
    """And the value is used: another one gives other weights, bit by bit the same ones each time."""
    base = ["model=mlp", "max_kimg=0.064"]
    plain, scheduled, other = (train(*base, *more) for more in (
        [f"optim.{player}.betas=[0.5,0.7]" for player in "gd"],
        ["optim.beta2={_target_: gan_lightning.schedules.Constant, value: 0.7}", "optim.decay=null"], []))
    for a, b, c in zip(plain.task.parameters(), scheduled.task.parameters(), other.task.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_resumed_run_has_the_same_schedules(train, tmp_path):
    whole = train(*R3GAN, "max_kimg=0.096", "callbacks=default", run_dir=tmp_path / "whole")
    train(*R3GAN, "max_kimg=0.048", "callbacks=default", run_dir=tmp_path / "parts")
    parts = train(*R3GAN, "max_kimg=0.096", "callbacks=default", "ckpt_path=last", run_dir=tmp_path / "parts")
    assert parts.steps == whole.steps == 6
    mine, theirs = whole.state_dict(), parts.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert [group["betas"] for group in groups(whole)] == [group["betas"] for group in groups(parts)]


def test_null_leaves_the_optimizers_alone(train):
    module = train("model=mlp", "max_kimg=0.032")
    assert module.optim.beta2 is None
    assert all(tuple(group["betas"]) == (0.5, 0.999) for group in groups(module))


def test_an_optimizer_without_betas_is_refused(config):
    module = build_module(config("model=mlp", "optim=rmsprop", "optim.beta2={_target_: " + COSINE + ", start: 0.9, end: 0.99}"))
    with pytest.raises(ConfigError, match="optim.beta2: RMSprop of optim.d has no betas; choose optim=adam or adamw"):
        module.configure_optimizers()


@pytest.mark.parametrize("schedule, becomes", [(Constant(1.0), "1.0"), (Linear(0.9, 1.0), "1.0"),
                                               (Cosine(-0.5, 0.5), "-0.5")])
def test_a_beta_that_adam_cannot_have_is_refused_before_the_run(schedule, becomes):
    with pytest.raises(ConfigError, match=f"optim.beta2: must stay at least 0 and below 1, and becomes {becomes}"):
        Optimisation(torch.optim.Adam, torch.optim.Adam, beta2=schedule)


def test_the_config_makes_it(config):
    optim = build_optim(config("optim.beta2={_target_: " + COSINE + ", start: 0.9, end: 0.99, kimg: 20000}").optim)
    assert [optim.beta2(nimg) for nimg in (0, 10**7, 2 * 10**7)] == pytest.approx([0.9, 0.945, 0.99])
