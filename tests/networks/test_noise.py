"""Noise between layers: whose it is, and when it is new."""

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.noise import Noise, noise_layers, number_noise, set_noise


@pytest.fixture
def network():
    network = nn.Sequential(Noise(4), nn.Upsample(scale_factor=2), Noise(8))
    for layer in noise_layers(network):
        nn.init.constant_(layer.strength, 2.0)
    return network


def test_one_picture_for_all_maps_and_another_for_each_sample():
    layer, x = Noise(4), torch.zeros(2, 3, 4, 4)
    assert torch.equal(layer(x), x)    # of strength 0 at first
    nn.init.constant_(layer.strength, 2.0)
    first, again = layer(x), layer(x)
    assert not torch.equal(first, again) and not torch.equal(first[0], first[1])
    assert torch.equal(first[:, 0], first[:, 2])
    layer.eval()
    assert torch.equal(layer(x), (2 * layer.constant).expand_as(x))


def test_its_law_and_its_strengths_gradient():
    layer, x = Noise(64), torch.ones(8, 1, 64, 64)
    nn.init.constant_(layer.strength, 0.5)
    out = layer(x)
    assert (out - 1).std().item() == pytest.approx(0.5, rel=0.02) and out.mean().item() == pytest.approx(1, abs=0.01)
    noise = (out.detach() - 1) / 0.5
    out.sum().backward()
    torch.testing.assert_close(layer.strength.grad, noise.sum()[None], rtol=1e-4, atol=1e-2)


def test_modes(network):
    x = torch.zeros(2, 3, 4, 4)
    network.eval()
    const = network(x)
    assert torch.equal(const, network(x)) and const.any()
    set_noise(network, "none")
    assert not network(x).any()
    set_noise(network, "random")
    assert not torch.equal(network(x), network(x))
    network.train()
    set_noise(network, "none")
    assert not torch.equal(network(x), network(x))    # the mode is of eval
    with pytest.raises(ConfigError, match="noise=wild: must be one of const, none, random"):
        set_noise(network, "wild")


def test_numbered_noise_belongs_to_the_sample(network):
    network.eval()
    set_noise(network, "random")

    def drawn(numbers, seed=0):
        number_noise(network, numbers, seed)
        return network(torch.zeros(len(numbers), 3, 4, 4))

    whole = drawn(range(5, 9))
    assert torch.equal(whole, drawn(range(5, 9)))
    assert torch.equal(whole[2:], drawn(range(7, 9)))
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(whole, drawn(range(5, 9), seed=1))
    set_noise(network, "const")    # forgets them
    assert all(layer.pictures is None for layer in noise_layers(network))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_of_the_maps_is_kept(dtype):
    layer = Noise(4).eval()
    x = torch.zeros(2, 3, 4, 4, dtype=dtype)
    for mode in ("const", "random"):
        set_noise(layer, mode)
        assert layer(x).dtype == dtype
