import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.resnet import (
    Discriminator,
    DiscriminatorBlock,
    FirstBlock,
    Generator,
    GeneratorBlock,
)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def conv(maps, out, kernel=3, bias=True):
    return maps * out * kernel**2 + (out if bias else 0)


def test_parameter_count_of_the_cifar_generator():
    block = 2 * conv(256, 256, bias=False) + conv(256, 256, 1, bias=False) + 2 * 2 * 256    # two batch norms
    by_hand = 128 * 4096 + 4096 + 3 * block + 2 * 256 + conv(256, 3)
    assert count(Generator(32, 3)) == by_hand
    assert by_hand == 4_276_739 - 3 * 3 * 256    # as published, less the biases that batch norm cancels


def test_parameter_count_of_the_cifar_discriminator():
    first = conv(3, 128) + conv(128, 128) + conv(3, 128, 1)
    down = 2 * conv(128, 128) + conv(128, 128, 1)
    flat = 2 * conv(128, 128)
    assert count(Discriminator(32, 3)) == first + down + 2 * flat + 128 + 1 == 1_053_825


@pytest.mark.parametrize("resolution, g_maps, d_maps, d_sizes", [
    (8, [256, 256], [128, 128], [4, 4]),
    (16, [256, 256, 256], [128, 128, 128], [8, 4, 4]),
    (32, [256, 256, 256, 256], [128, 128, 128, 128], [16, 8, 8, 8]),
    (48, [512, 256, 128, 64], [64, 128, 256, 512, 1024], [24, 12, 6, 3, 3]),
    (64, [1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024], [32, 16, 8, 4, 2]),
    (128, [1024, 1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024], [64, 32, 16, 8, 4, 4]),
])
def test_maps_are_the_tables(resolution, g_maps, d_maps, d_sizes):
    with torch.device("meta"):    # shapes without the work
        g, d, x = Generator(resolution, 3), Discriminator(resolution, 3, norm="none"), torch.empty(
            1, 3, resolution, resolution)
        assert [g.blocks[0].conv1.in_channels] + [block.conv2.out_channels for block in g.blocks] == g_maps
        shapes = []
        for block in d.blocks:
            x = block(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(maps, size, size) for maps, size in zip(d_maps, d_sizes, strict=True)]


@pytest.mark.parametrize("resolution", [8, 16])
def test_small_images_have_one_block_fewer_for_each_halving(resolution):
    """The same blocks as at 32 px, so that the difference in parameters is that of whole blocks."""
    fewer = {8: 2, 16: 1}[resolution]
    g_block = 2 * conv(256, 256, bias=False) + conv(256, 256, 1, bias=False) + 2 * 2 * 256
    assert count(Generator(32, 3)) - count(Generator(resolution, 3)) == fewer * g_block
    assert Generator(resolution, 3, width=2)(torch.randn(2, 128)).shape == (2, 3, resolution, resolution)
    x = torch.randn(2, 3, resolution, resolution)
    assert Discriminator(resolution, 3, width=2)(x).shape == (2, 1)


def test_width_scales_all_maps():
    g, d = Generator(48, 1, width=3), Discriminator(48, 1, width=3)
    assert [block.conv2.out_channels for block in g.blocks] == [12, 6, 3]
    assert [block.conv2.out_channels for block in d.blocks] == [3, 6, 12, 24, 48]


def test_generator_block_is_its_figure():
    """Residual: norm, ReLU, upsample, conv, norm, ReLU, conv. Shortcut: upsample, then 1x1."""
    torch.manual_seed(0)
    block = GeneratorBlock(4, 3, "batch", 0).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)

    def up(h):
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    residual = block.conv2(block.norm2(block.conv1(up(block.norm1(x).relu()))).relu())
    torch.testing.assert_close(block(x, None), residual + block.shortcut(up(x)))


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("out", [4, 6])
def test_discriminator_block_is_its_figure(down, out):
    torch.manual_seed(0)
    block = DiscriminatorBlock(4, out, down, "none").double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    residual = block.conv2(block.conv1(x.relu()).relu())
    shortcut = x if block.shortcut is None else block.shortcut(x)
    expected = F.avg_pool2d(residual + shortcut, 2) if down else residual + shortcut
    torch.testing.assert_close(block(x), expected)
    assert (block.shortcut is None) == (not down and out == 4)


def test_first_block_has_no_activation_on_the_image():
    torch.manual_seed(0)
    block = FirstBlock(3, 4).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = F.avg_pool2d(block.conv2(block.conv1(x).relu()) + block.shortcut(x), 2)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_logit_is_the_sum_of_linear_and_projection(pool):
    torch.manual_seed(0)
    d = Discriminator(32, 3, num_classes=4, width=4, norm="none", pool=pool).double()
    x, label = torch.randn(5, 3, 32, 32, dtype=torch.float64), torch.tensor([3, 0, 1, 1, 2])
    h = d.blocks(x).relu().flatten(2)
    pooled = h.sum(2) if pool == "sum" else h.sum(2) / 64
    logits, features = d(x, label, return_features=True)
    torch.testing.assert_close(features, pooled)
    for item in range(5):
        weight = d.last.weight[0] + d.projection.embed.weight[label[item]]
        torch.testing.assert_close(logits[item, 0], pooled[item] @ weight + d.last.bias[0])


def test_unknown_pool_is_refused():
    with pytest.raises(ConfigError, match="model.pool=max: must be one of sum, mean"):
        Discriminator(32, 3, pool="max")


def test_generator_with_norm_has_no_bias_that_the_norm_cancels():
    assert all(module.bias is None for block in Generator(32, 3, width=2).blocks for module in block.modules()
               if isinstance(module, nn.Conv2d))
    assert all(module.bias is not None for block in Generator(32, 3, width=2, norm="none").blocks
               for module in block.modules() if isinstance(module, nn.Conv2d))


def test_generator_without_norm_leaves_its_maps_alone():
    """In place, the activation before a block's shortcut would rectify the shortcut too."""
    torch.manual_seed(0)
    block = GeneratorBlock(4, 4, "none", 0)
    x = torch.randn(2, 4, 5, 5)
    before = x.clone()
    block(x, None)
    assert torch.equal(x, before)
