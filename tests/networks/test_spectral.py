"""Spectral normalisation, compiled and not, against torch's own."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gan_lightning.networks.layers import add_spectral_norm


def critic():
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(144, 1))


def two_calls(network):
    """Gradients, then buffers, after what a discriminator's step does."""
    torch.manual_seed(1)
    real, fake = torch.randn(2, 4, 3, 8, 8)
    (network(real).relu().mean() - network(fake).square().mean()).backward()
    state = dict(network.named_parameters())
    return {name: weight.grad for name, weight in state.items()} | dict(network.named_buffers())


def expected():
    torch.manual_seed(0)
    network = critic()
    for layer in (network[0], network[2], network[4]):
        spectral_norm(layer)
    return network


def ours():
    torch.manual_seed(0)
    network = critic()
    add_spectral_norm(network)
    return network


def test_is_torchs_own():
    theirs, mine = expected(), ours()
    assert theirs.state_dict().keys() == mine.state_dict().keys()
    found = two_calls(mine)
    assert all(torch.equal(found[name], value) for name, value in two_calls(theirs).items())


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_network_called_twice_before_its_backward_pass(backend):
    network = ours()
    network.compile(backend=backend)
    found = two_calls(network)
    for name, value in two_calls(expected()).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    network.eval()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.randn(2, 3, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())
