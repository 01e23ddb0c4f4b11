"""Joined convolutions against the two steps that they stand for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lightning.networks.layers import add_spectral_norm, flatten, layout_of
from gan_lightning.networks.resampling import conv_pool, upsample_conv

TWO_STEPS = {
    conv_pool: lambda conv, x: F.avg_pool2d(conv(x), 2),
    upsample_conv: lambda conv, x: conv(F.interpolate(x, scale_factor=2)),
}


@pytest.mark.parametrize("joined", TWO_STEPS)
@pytest.mark.parametrize("size", [(6, 8), (5, 4), (2, 2)])
@pytest.mark.parametrize("kernel, bias", [(3, True), (3, False), (5, True), (1, True)])
def test_values_and_gradients(joined, size, kernel, bias):
    conv = nn.Conv2d(3, 4, kernel, padding=kernel // 2, bias=bias).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    results = []
    for compute in (joined, TWO_STEPS[joined]):
        y = compute(conv, x)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *conv.parameters()])])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_one_power_iteration_as_in_the_layer_itself():
    conv, x = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).double(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    add_spectral_norm(conv)
    state = {name: value.clone() for name, value in conv.state_dict().items()}
    joined = conv_pool(conv[0], x)
    after = {name: value.clone() for name, value in conv.state_dict().items()}
    conv.load_state_dict(state)
    torch.testing.assert_close(joined, F.avg_pool2d(conv(x), 2))
    assert all(torch.equal(after[name], value) for name, value in conv.state_dict().items())
    assert not all(torch.equal(after[name], value) for name, value in state.items())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_flatten_keeps_values_and_hands_back_the_format(layout):
    maps = torch.randn(2, 3, 4, 5).contiguous(memory_format=layout).requires_grad_()
    seen = []
    inside = maps * 1
    inside.register_hook(seen.append)
    vectors = flatten(inside)
    assert torch.equal(vectors, maps.detach().contiguous().view(2, 60))
    weight = torch.randn(2, 60)
    (vectors * weight).sum().backward()
    assert torch.equal(seen[0], weight.view(2, 3, 4, 5))
    assert layout_of(inside) == layout_of(seen[0]) == layout
    assert torch.autograd.gradgradcheck(flatten, maps.detach().double().requires_grad_())
