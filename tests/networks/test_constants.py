"""Generators have a bias where a constant matters, and nowhere else: norms cancel it, attention does not."""

import pytest
import torch
from torch import nn

from gan_lightning.networks import biggan, biggan_deep, sagan
from gan_lightning.networks.layers import needs_bias, norm_2d

DOUBLE = torch.float64
MODELS = {"biggan": biggan, "biggan_deep": biggan_deep, "sagan": sagan}
CASES = [(name, *sizes) for name in MODELS for sizes in ((16, 8, 0), (16, 8, 3), (16, 4, 0), (32, 16, 0))]


def convolutions(g):
    return [module for block in g.blocks for module in block.modules() if isinstance(module, nn.Conv2d)]


def run(g, z, cond):
    """(images, what attention gets)."""
    seen = []
    hook = g.attention.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images = g(z, cond)
    hook.remove()
    return images, seen[0]


@pytest.mark.parametrize("name, resolution, attention, num_classes", CASES)
def test_one_bias_is_as_good_as_one_in_every_convolution(name, resolution, attention, num_classes):
    """Gives all convolutions random biases: what attention gets moves by a constant, which one bias makes up for."""
    fixed = {"spectral": False} if name == "sagan" else {"norm": "none"}    # no iterations between calls
    g = MODELS[name].Generator(resolution, 1, num_classes, width=2, attention=attention, **fixed).double()
    nn.init.constant_(g.attention.gamma, 0.5)    # closed, it sees nothing
    own = [conv for conv in convolutions(g) if conv.bias is not None]
    assert len(own) == (0 if attention == biggan.BASE else 1)    # the dense layer, which has biases, comes before 4 px
    z, cond = torch.randn(4, g.z_dim, dtype=DOUBLE), torch.arange(4) % 3 if num_classes else None
    for conv in own:
        nn.init.zeros_(conv.bias)
    plain, before = run(g, z, cond)
    for conv in convolutions(g):
        conv.bias = nn.Parameter(torch.randn(conv.out_channels, dtype=DOUBLE))
    images, after = run(g, z, cond)
    moved = (after - before).mean((0, 2, 3))
    torch.testing.assert_close(after - before, moved[:, None, None].expand_as(after))
    for conv in convolutions(g):
        conv.bias = nn.Parameter(moved) if conv in own else None
    torch.testing.assert_close(run(g, z, cond)[0], images)
    assert torch.allclose(plain, images, atol=1e-4) == (not own)


@pytest.mark.parametrize("name", MODELS)
def test_without_attention_no_constant_is_left(name):
    g = MODELS[name].Generator(16, 1, width=2, attention=0)
    assert all(conv.bias is None for conv in convolutions(g))


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance"])
def test_sagan_has_it_once(norm):
    """Without a norm all convolutions have biases already, and with one that keeps constants."""
    g = sagan.Generator(16, 1, width=2, norm=norm)
    assert sum(conv.bias is not None for conv in convolutions(g)) == (6 if norm in ("none", "layer") else 1)
    assert g.blocks[0].conv2.bias is not None and not g.blocks[0].conv2.bias.any() == (norm not in ("none", "layer"))


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_which_norms_cancel_the_constant_of_a_map(norm):
    x, constant = torch.randn(4, 3, 5, 5, dtype=DOUBLE), torch.randn(3, 1, 1, dtype=DOUBLE)
    layer = norm_2d(norm, 3).double()
    assert torch.allclose(layer(x), layer(x + constant), atol=1e-3) == (not needs_bias(norm))
