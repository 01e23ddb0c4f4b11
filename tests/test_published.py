"""Presets against what is known of the runs whose scores their headers quote."""

import pytest
import torch
from torch import nn

from gan_lightning.build import build_optim, instantiate

BIGGANS = ["biggan", "biggan_diffaugment", "biggan_lecam", "contragan", "reacgan"]


def parameters(node):
    with torch.device("meta"):
        network = instantiate(node)
    return sum(weight.numel() for weight in network.parameters()), network


@pytest.mark.parametrize("name", BIGGANS)
def test_the_average_begins_at_step_1000_and_keeps_0_9999_of_itself(config, name):
    cfg = config(f"experiment=cifar10_{name}")
    ema = build_optim(cfg.optim).ema(nn.Linear(1, 1))
    images = cfg.loss.n_critic * cfg.data.batch_size
    assert cfg.max_kimg * 1000 / images in (100_000, 200_000)
    decays = [ema.decay(step * images, images) for step in range(1, 5001)]
    assert not any(decays[:1000])    # the live weights
    assert decays[1000:] == pytest.approx([0.9999] * 4000, abs=2e-8)


def test_dcgan_is_about_as_large_as_studiogan_s(config):
    cfg = config("experiment=cifar10_dcgan")
    g, d = (parameters(cfg.model[player])[0] for player in ("generator", "discriminator"))
    assert (round(g / 1e5), round(d / 1e5)) == (34, 26)    # 3.8 and 2.9 million there


def test_wgan_gp_has_the_widths_and_the_pooling_of_its_number(config):
    cfg = config("experiment=cifar10_wgan_gp")
    (_, g), (_, d) = (parameters(cfg.model[player]) for player in ("generator", "discriminator"))
    assert g.last.in_channels == 256 and d.num_features == 128 and d.pool == "sum"


def test_acgan_s_number_is_of_a_classifier_of_reals(config):
    assert config("experiment=cifar10_acgan", "model.head.on_fakes=false").model.head.on_fakes is False
    assert config("conditioning=acgan").model.head.on_fakes is True    # Odena et al. 2017


def test_multi_hinge_weighs_less_for_g(config):
    loss = config("conditioning=multi_hinge").loss
    assert (loss.d_terms.label.weight, loss.g_terms.label.weight) == (1.0, 0.1)


def test_lecam_s_number_is_of_the_one_sided_form(config):
    lecam = config("experiment=cifar10_biggan_lecam").loss.d_terms.lecam
    assert (lecam.one_sided, lecam.from_kimg) == (True, 320) and config("term=[lecam]").loss.d_terms.lecam.one_sided is False
