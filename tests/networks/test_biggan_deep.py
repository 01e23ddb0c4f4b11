import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
from gan_lightning.networks import biggan
from gan_lightning.networks.attention import SelfAttention
from gan_lightning.networks.biggan_deep import PLANS, Discriminator, DiscriminatorBlock, Generator, GeneratorBlock

DOUBLE = torch.float64


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_at_128_px_are_the_paper_s():
    """Appendix B: "the 128x128 BigGAN-deep G and D have 50.4M and 34.6M parameters respectively"."""
    with torch.device("meta"):
        g, d = Generator(128, 3, 1000, norm="none"), Discriminator(128, 3, 1000, norm="none")
    assert round(count(d) / 1e5) == 346
    # The released G has 128 maps in its last layer, of which all but three are dropped (github.com/ajbrock/
    # BigGAN-PyTorch/issues/20); and biases, which batch norm cancels. Table 7 has 3 maps.
    dropped = (128 - 3) * (9 * 128 + 1)
    convs = [module for block in g.blocks for module in block.modules() if isinstance(module, nn.Conv2d)]
    biases = sum(conv.out_channels for conv in convs)
    assert round((count(g) + dropped + biases) / 1e5) == round((count(g) + dropped) / 1e5) == 504


def stages(*maps):
    """[(in, out), ...] of two blocks for each pair of neighbours."""
    return [pair for a, b in zip(maps, maps[1:], strict=False) for pair in ((a, a), (a, b))]


TABLES = [    # 128 and 256 px: tables 7 and 8, ch = 128
    (8, [256, 256], None), (16, [256] * 3, None), (32, [256] * 4, None),
    (64, [2048, 2048, 1024, 512, 256], 32), (128, [2048, 2048, 1024, 512, 256, 128], 64),
    (256, [2048, 2048, 1024, 1024, 512, 256, 128], 64),
]


@pytest.mark.parametrize("resolution, maps, attended", TABLES)
def test_maps_are_the_tables_and_d_is_the_mirror_of_g(resolution, maps, attended):
    with torch.device("meta"):
        g, d = Generator(resolution, 3, norm="none"), Discriminator(resolution, 3, norm="none")
        assert [(block.conv1.in_channels, block.conv4.out_channels) for block in g.blocks] == stages(*maps)
        assert [block.up for block in g.blocks] == [False, True] * (len(maps) - 1)
        seen, found, x = [], [], d.first(torch.empty(1, 3, resolution, resolution))
        for block in d.blocks:
            if isinstance(block, SelfAttention):    # autocast, which it switches off, knows no meta device
                seen.append((x.shape[1], x.shape[2]))
                assert block.query.in_channels == x.shape[1]
            else:
                found.append((block.conv1.in_channels, block.conv4.out_channels))
                x = block(x)
        assert x.shape == (1, maps[0], *[8 if resolution == 32 else 4] * 2)    # as biggan.py's D of 32 px
        if g.attention is not None:
            assert g.attention.query.in_channels == seen[0][0]
            g.attention = nn.Identity()
            g.attention.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape[1:3])))
        assert g(torch.empty(2, 128)).shape == (2, 3, resolution, resolution)
    mirrored = maps[::-1]
    assert found == [pair for a, b in zip(mirrored, mirrored[1:], strict=False) for pair in ((a, b), (b, b))]
    assert [size for _, size in seen] == ([attended, attended] if attended else [])


@pytest.mark.parametrize("resolution", PLANS)
def test_d_halves_as_often_as_biggan_s(resolution):
    plan = PLANS[resolution]
    assert plan.downs == biggan.PLANS[resolution].downs
    with torch.device("meta"):
        d = Discriminator(resolution, 3, width=8, attention=0, norm="none")
    assert [block.down for block in d.blocks] == [
        first and stage < plan.downs for stage in range(len(plan.d_maps) - 1) for first in (True, False)]


def test_every_batch_norm_has_the_paper_s_epsilon():
    norms = [module for module in Generator(8, 1, 3, width=2).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 9 and all(norm.eps == 1e-4 for norm in norms)    # appendix C


def test_attention_comes_before_both_blocks_of_its_size_in_g_and_after_both_in_d():
    """Table 7: between the block that doubles to this size and the next; in D mirrored."""
    order = []
    for network in (Generator(16, 1, width=2, attention=8), Discriminator(16, 1, width=2, attention=8)):
        for module in network.modules():
            if isinstance(module, (SelfAttention, GeneratorBlock, DiscriminatorBlock)):
                module.register_forward_hook(lambda module, args, y: order.append((type(module), y.shape[-1])))
        network(torch.randn(2, 128) if isinstance(network, Generator) else torch.randn(2, 1, 16, 16))
    g, d = GeneratorBlock, DiscriminatorBlock
    assert order == [(g, 4), (g, 8), (SelfAttention, 8), (g, 8), (g, 16),
                     (d, 8), (d, 8), (SelfAttention, 8), (d, 4), (d, 4)]


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("out", [8, 3])
def test_generator_block_is_its_figure(up, out):
    """Norm, ReLU and convolution four times, upsampling before the second; the shortcut drops the last maps."""
    block = GeneratorBlock(8, out, up, 5).double()
    assert block.conv2.in_channels == block.conv3.out_channels == 2    # a quarter
    x, code = torch.randn(2, 8, 3, 3, dtype=DOUBLE), torch.randn(2, 5, dtype=DOUBLE)

    def resized(h):
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3) if up else h

    h = block.conv1(block.norm1(x, code).relu())
    h = block.conv2(resized(block.norm2(h, code).relu()))
    h = block.conv4(block.norm4(block.conv3(block.norm3(h, code).relu()), code).relu())
    torch.testing.assert_close(block(x, code), h + resized(x)[:, :out])


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("out", [4, 8])
def test_discriminator_block_is_its_figure(down, out):
    """ReLU and convolution four times, pooling before the last; the shortcut keeps the maps and appends others."""
    block = DiscriminatorBlock(4, out, down).double()
    assert block.conv2.in_channels == block.conv3.out_channels == out // 4
    x = torch.randn(2, 4, 6, 6, dtype=DOUBLE)
    before = x.clone()

    def resized(h):
        return F.avg_pool2d(h, 2) if down else h

    h = block.conv3(block.conv2(block.conv1(x.relu()).relu()).relu())
    got = block(x) - block.conv4(resized(h.relu()))
    torch.testing.assert_close(got[:, :4], resized(x))
    if out > 4:
        torch.testing.assert_close(got[:, 4:], block.shortcut(resized(x)))
    assert (block.shortcut is None) == (out == 4) and torch.equal(x, before)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_all_of_z_and_the_label_reach_every_block(num_classes):
    g = Generator(8, 1, num_classes, z_dim=6, width=2, shared_dim=4)
    codes = []
    for norm in (norm for block in g.blocks for norm in (block.norm1, block.norm2, block.norm3, block.norm4)):
        norm.gain.register_forward_pre_hook(lambda module, args: codes.append(args[0]))
    g.project.register_forward_pre_hook(lambda module, args: codes.append(args[0]))
    z, cond = torch.randn(2, 6), torch.tensor([2, 0]) if num_classes else None
    g(z, cond)
    label = g.embed.weight[cond] if num_classes else torch.empty(2, 0)
    assert len(codes) == 9 and all(torch.equal(code, torch.cat([z, label], 1)) for code in codes)


def test_logit_is_the_sum_of_linear_and_projection_over_summed_maps():
    d = Discriminator(8, 3, num_classes=4, width=2, norm="none").double()
    x, label = torch.randn(5, 3, 8, 8, dtype=DOUBLE), torch.tensor([3, 0, 1, 1, 2])
    summed = d.blocks(d.first(x)).relu().flatten(2).sum(2)
    logits, features = d(x, label, return_features=True)
    torch.testing.assert_close(features, summed)
    assert features.shape == (5, d.num_features)
    for item in range(5):
        weight = d.last.weight[0] + d.projection.embed.weight[label[item]]
        torch.testing.assert_close(logits[item, 0], summed[item] @ weight + d.last.bias[0])


@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_every_map_is_spectrally_normalised_and_no_embedding_of_g(norm):
    g = Generator(8, 1, 3, width=2, attention=4, norm=norm)
    d = Discriminator(8, 1, 3, width=2, attention=4, norm=norm)
    for network, kinds in ((g, (nn.Linear, nn.Conv2d)), (d, (nn.Linear, nn.Conv2d, nn.Embedding))):
        layers = [module for module in network.modules() if isinstance(module, kinds)]
        assert all(nn.utils.parametrize.is_parametrized(layer, "weight") == (norm == "spectral") for layer in layers)
    assert not nn.utils.parametrize.is_parametrized(g.embed)


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("resolution, attention", [(8, None), (8, 4), (16, 8)])
def test_everything_learns_and_gradients_have_gradients(resolution, attention, num_classes):
    g = Generator(resolution, 1, num_classes, width=2, attention=attention).double()
    d = Discriminator(resolution, 1, num_classes, width=2, attention=attention).double()
    for network in (g, d):
        initialise(network, "orthogonal")
        for module in network.modules():
            if isinstance(module, SelfAttention):
                nn.init.constant_(module.gamma, 0.5)    # closed, it hides the layers behind it
    cond = torch.arange(6) % num_classes if num_classes else None
    fake = g(torch.randn(6, g.z_dim, dtype=DOUBLE), cond)
    assert fake.abs().max() <= 1
    F.softplus(-d(fake, cond)).mean().backward()
    leaf = fake.detach().requires_grad_()
    logits = d(leaf, cond)
    gradient, = torch.autograd.grad(logits.sum(), leaf, create_graph=True)
    (gradient.square().sum() + logits.square().mean()).backward()
    for network in (g, d):
        for name, weight in network.named_parameters():
            assert weight.grad.isfinite().all() and weight.grad.abs().max() > 1e-10, name


@pytest.mark.parametrize("make, message", [
    (lambda: Generator(48, 3), "data.resolution=48: biggan_deep makes 8, 16, 32, 64, 128, 256 px"),
    (lambda: Discriminator(48, 3), "data.resolution=48: biggan_deep makes 8, 16, 32, 64, 128, 256 px"),
    (lambda: Generator(16, 3, norm="batch"), "model.g_norm=batch: must be one of spectral, none"),
    (lambda: Discriminator(16, 3, norm="layer"), "model.d_norm=layer: must be one of spectral, none"),
    (lambda: Generator(32, 3, attention=32), "model.attention=32: biggan_deep at 32 px has maps of 16, 8 px"),
])
def test_refusals(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_all_plans_are_in_the_tables():
    assert list(PLANS) == [resolution for resolution, *_ in TABLES]
