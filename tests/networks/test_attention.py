import math

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.attention import SelfAttention, attention_size


def attention(maps=16, gamma=0.7):
    layer = SelfAttention(maps).double()
    nn.init.constant_(layer.gamma, gamma)
    return layer


def by_hand(layer, x):
    """Equations 1 to 3, one query and one key at a time."""
    def matrix(conv):
        return conv.weight[:, :, 0, 0]

    def pooled(maps):    # (C, H, W) -> (C, HW/4)
        c, h, w = maps.shape
        corners = [maps[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return torch.stack(corners).amax(0).reshape(c, h * w // 4)

    images = []
    for image in x:
        flat = image.flatten(1)
        query = matrix(layer.query) @ flat
        key = pooled((matrix(layer.key) @ flat).reshape(-1, *image.shape[1:]))
        value = pooled((matrix(layer.value) @ flat).reshape(-1, *image.shape[1:]))
        columns = []
        for j in range(flat.shape[1]):
            scores = [math.exp(sum(a * b for a, b in zip(query[:, j].tolist(), key[:, i].tolist(), strict=True)))
                      for i in range(key.shape[1])]
            mixed = sum(score / sum(scores) * value[:, i] for i, score in enumerate(scores))
            columns.append(flat[:, j] + layer.gamma * (matrix(layer.output) @ mixed))
        images.append(torch.stack(columns, 1).reshape(image.shape))
    return torch.stack(images)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(4, 4), (2, 6)])
def test_is_a_double_loop_over_positions(size, layout):
    layer = attention().to(memory_format=layout)
    x = torch.randn(2, 16, *size, dtype=torch.float64).contiguous(memory_format=layout)
    seen = []
    layer.output.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    got = layer(x)
    torch.testing.assert_close(got, by_hand(layer, x), rtol=1e-10, atol=1e-12)
    assert seen[0].is_contiguous(memory_format=layout)    # else the convolution rearranges it, forwards and backwards
    assert got.is_contiguous(memory_format=layout)


def test_maps_of_its_parts():
    layer = SelfAttention(64)
    assert [conv.out_channels for conv in (layer.query, layer.key, layer.value, layer.output)] == [8, 8, 32, 64]
    assert sum(weight.numel() for weight in layer.parameters()) == 2 * 64 * 8 + 2 * 64 * 32 + 1
    assert SelfAttention(4)(torch.randn(2, 4, 2, 2)).shape == (2, 4, 2, 2)    # fewer maps than 8


def test_starts_as_the_identity_whose_gate_can_open():
    layer, x = SelfAttention(16), torch.randn(3, 16, 4, 4)
    y = layer(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert layer.gamma.grad.abs() > 1e-3


def test_first_and_second_derivatives_are_finite_differences():
    layer = attention(8)
    x = torch.randn(2, 8, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


def test_softmax_is_float32_under_autocast():
    """Half of the keys score 1024 and half 1025; bfloat16 has no number between 1024 and 1032."""
    layer = SelfAttention(16)
    nn.init.ones_(layer.gamma)
    for conv in (layer.query, layer.key, layer.value, layer.output):
        nn.init.zeros_(conv.weight)
    for conv, out, maps in [(layer.query, 0, 0), (layer.query, 1, 1), (layer.key, 0, 0), (layer.key, 1, 2),
                            (layer.value, 0, 2), (layer.output, 3, 0)]:
        conv.weight.data[out, maps] = 1.0
    x = torch.zeros(1, 16, 2, 8)
    x[:, 0], x[:, 1] = 32.0, 1.0
    x[:, 2, :, 4:] = 1.0    # what keys add to 32 * 32, and the value
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y[0, 3], torch.full((2, 8), math.e / (1 + math.e)), rtol=0, atol=4e-3)


@pytest.mark.parametrize("asked, size", [(None, 32), (0, 0), (16, 16)])
def test_size(asked, size):
    assert attention_size(asked, 32, (8, 16, 32), "sagan at 64 px") == size


def test_impossible_size_is_refused():
    with pytest.raises(ConfigError, match="model.attention=48: sagan at 64 px has maps of 8, 16, 32 px .* 0 for no"):
        attention_size(48, 32, (8, 16, 32), "sagan at 64 px")
