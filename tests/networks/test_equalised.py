"""Equalised layers against plain ones with the scaled weights."""

import math

import pytest
import torch
import torch.nn.functional as F

from gan_lightning.initialisation import initialise
from gan_lightning.networks.equalised import EqualConv2d, EqualLinear, pixel_norm


@pytest.mark.parametrize("gain, lr", [(1.0, 1.0), (math.sqrt(2), 1.0), (1.0, 0.01)])
def test_linear_is_the_formula(gain, lr):
    layer = EqualLinear(7, 5, gain=gain, lr=lr, bias_init=0.5)
    x = torch.randn(3, 7)
    expected = x @ (layer.weight * (gain * lr / 7**0.5)).T + 0.5
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("stride, padding, bias", [(1, None, True), (2, 0, False), (1, 0, True)])
def test_conv_is_the_formula(stride, padding, bias):
    layer = EqualConv2d(3, 4, 3, stride=stride, padding=padding, bias=bias, gain=2.0)
    x = torch.randn(2, 3, 7, 7)
    expected = F.conv2d(x, layer.weight, None, stride, 1 if padding is None else padding) * 2 / 27**0.5
    if bias:
        torch.nn.init.normal_(layer.bias)
        expected = expected + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)


def test_upsampled_is_nearest_neighbour_first():
    layer = EqualConv2d(3, 4, 3).double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(layer.upsampled(x), layer(F.interpolate(x, scale_factor=2)))


@pytest.mark.parametrize("lr", [1.0, 0.01])
def test_variance_at_the_start_and_pace(lr):
    """Unit variance in, gain^2 out, whatever lr; one step of Adam moves a value in proportion to lr."""
    layer = EqualLinear(400, 400, gain=2.0, lr=lr)
    x = torch.randn(400, 400)
    assert layer(x).var().item() == pytest.approx(4, rel=0.05)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    before = layer.weight.detach() * layer.scale
    layer(x).sum().backward()
    optimizer.step()
    moved = (layer.weight.detach() * layer.scale - before).abs().mean().item()
    assert moved == pytest.approx(1e-3 * 2 * lr / 20, rel=0.02)


def test_initialise_leaves_them_alone():
    network = torch.nn.Sequential(EqualLinear(3, 3), EqualConv2d(3, 3, 3), torch.nn.Linear(3, 3))
    before = [p.clone() for p in network.parameters()]
    initialise(network, "orthogonal")
    same = [torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert same == [True] * 4 + [False] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_pixel_norm_has_unit_mean_square(dtype):
    x = (300 * torch.randn(2, 8, 3, 3)).to(dtype)     # squares overflow float16
    y = pixel_norm(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float().square().mean(1), torch.ones(2, 3, 3), rtol=2e-3, atol=0)
    torch.testing.assert_close(y.float() * x.float().square().mean(1, keepdim=True).sqrt(), x.float(), rtol=2e-3,
                               atol=1e-3)
