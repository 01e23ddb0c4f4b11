import math

import pytest
import torch
from torch import nn

from gan_lightning.ema import EMA
from gan_lightning.errors import ConfigError
from gan_lightning.schedules import Cosine


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2)))


def test_equals_a_hand_rolled_average():
    live = network()
    ema = EMA(live, half_life_kimg=0.5, rampup=None)
    expected = {k: v.clone().double() for k, v in live.named_parameters()}
    for step in range(1, 6):
        with torch.no_grad():
            for p in live.parameters():
                p.add_(torch.randn_like(p))
        ema.update(live, step * 100, 100)
        for k, p in live.named_parameters():
            beta = 0.5 ** (100 / 500)
            expected[k] = beta * expected[k] + (1 - beta) * p.detach().double()
    for k, p in ema.network.named_parameters():
        assert torch.allclose(p.double(), expected[k], atol=1e-6)
        assert not torch.allclose(p, dict(live.named_parameters())[k])


@pytest.mark.parametrize("policy", ["average", "copy"])
def test_batch_norm_policy(policy):
    live = network()
    ema = EMA(live, half_life_kimg=1.0, rampup=None, bn_buffers=policy)
    live.train()(torch.randn(64, 3) + 5)
    ema.update(live, 1000, 1000)  # one half-life: halfway
    start, now = torch.zeros(4), live[1].running_mean
    expected = (start + now) / 2 if policy == "average" else now
    assert torch.allclose(ema.network[1].running_mean, expected, atol=1e-6)
    assert ema.network[1].num_batches_tracked == 1  # an integer is never averaged
    power, live_power = ([b for n, b in net.named_buffers() if n.endswith("_u")][0] for net in (ema.network, live))
    assert torch.equal(power, live_power)


def test_rampup_forgets_the_first_weights():
    ema = EMA(nn.Linear(1, 1), half_life_kimg=10.0, rampup=0.05)
    assert ema.decay(nimg=1000, images=50) == pytest.approx(0.5)  # half-life 0.05 * 1000
    assert ema.decay(nimg=10**6, images=10_000) == pytest.approx(0.5)  # full half-life
    assert EMA(nn.Linear(1, 1), 10.0, rampup=None).decay(50, 10_000) == pytest.approx(0.5)


def test_moving_the_module_keeps_it_averaging():
    live = network()
    both = nn.ModuleList([live, EMA(live, half_life_kimg=1e-6, rampup=None)])
    both[1].update(live, 1, 1)
    both.double()
    with torch.no_grad():
        live[1].running_mean.fill_(3.0)
    both[1].update(live, 2, 1)
    assert both[1].network[1].running_mean.tolist() == pytest.approx([3.0] * 4)


def test_stays_in_eval_mode_and_without_gradients():
    ema = EMA(network())
    ema.train()
    assert not any(m.training for m in ema.modules())
    assert not any(p.requires_grad for p in ema.parameters())


def test_bad_half_life():
    with pytest.raises(ConfigError, match="half_life_kimg=0"):
        EMA(network(), half_life_kimg=0)


def test_the_half_life_may_be_a_schedule():
    """Cosine from 0 to 2 kimg over 4 kimg: 1 kimg halfway; at 0 the average is the live network."""
    live = nn.Linear(3, 2).double()
    ema = EMA(live, half_life_kimg=Cosine(0.0, 2.0, kimg=4.0), rampup=None)
    assert ema.decay(nimg=2000, images=100) == pytest.approx(0.5 ** (100 / 1000), rel=1e-12)
    assert ema.decay(nimg=9000, images=100) == pytest.approx(0.5 ** (100 / 2000), rel=1e-12)
    expected = None
    for nimg in (0, 1000, 2000, 4000):
        with torch.no_grad():
            live.weight.normal_()
        ema.update(live, nimg, 500)
        half_life = 2000 * (1 - math.cos(math.pi * nimg / 4000)) / 2
        beta = 0.5 ** (500 / half_life) if nimg else 0.0
        expected = live.weight.detach() * (1 - beta) + (expected * beta if nimg else 0)
        assert torch.allclose(ema.network.weight, expected, rtol=1e-12, atol=1e-12)


def test_a_scheduled_half_life_is_ramped_up_too():
    ema = EMA(nn.Linear(1, 1), half_life_kimg=Cosine(8.0, 4.0, kimg=1000.0), rampup=0.05)
    assert ema.decay(nimg=1000, images=50) == pytest.approx(0.5)
    assert ema.decay(nimg=10**6, images=4000) == pytest.approx(0.5)
