import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
from gan_lightning.networks.attention import SelfAttention
from gan_lightning.networks.biggan import (
    PLANS,
    Discriminator,
    DiscriminatorBlock,
    Generator,
    GeneratorBlock,
    ModulatedNorm,
)

DOUBLE = torch.float64


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def conv_biases(maps):
    """Of a residual block's three convolutions, which batch norm cancels and ours do not have (but for 192)."""
    return 3 * sum(maps) - 192


def test_parameter_counts_at_128_px_are_the_paper_s():
    """Appendix B: "the corresponding original BigGAN models have 70.4M and 88.0M parameters"."""
    with torch.device("meta"):
        g, d = Generator(128, 3, 1000, norm="none"), Discriminator(128, 3, 1000, norm="none")
    biases = conv_biases([96 * multiple for multiple in (16, 8, 4, 2, 1)])
    assert round((count(g) + biases) / 1e5) == round(count(g) / 1e5) == 704
    assert round(count(d) / 1e5) == 880
    assert (g.z_dim, g.embed.weight.shape, g.blocks[0].norm1.gain.in_features) == (120, (1000, 128), 20 + 128)


def test_z_of_140_at_256_px():
    with torch.device("meta"):
        assert Generator(256, 3, 1000, norm="none").z_dim == 140


# Tables 4 and 5 for 128 and 256 px with ch = 96; the sizes attended over follow in parentheses.
TABLES = [
    (8, [256, 256], [(256, 4), (256, 4)], None),
    (16, [256] * 3, [(256, 8), (256, 4), (256, 4)], None),
    (32, [256] * 4, [(256, 16), (256, 8), (256, 8), (256, 8)], None),
    (64, [1536, 1536, 768, 384, 192], [(192, 32), (384, 16), (768, 8), (1536, 4), (1536, 4)], 32),
    (128, [1536, 1536, 768, 384, 192, 96],
     [(96, 64), (192, 32), (384, 16), (768, 8), (1536, 4), (1536, 4)], 64),
    (256, [1536, 1536, 768, 768, 384, 192, 96],
     [(96, 128), (192, 64), (384, 32), (768, 16), (768, 8), (1536, 4), (1536, 4)], 64),
]


@pytest.mark.parametrize("resolution, g_maps, d_shapes, attended", TABLES)
def test_maps_are_the_tables(resolution, g_maps, d_shapes, attended):
    with torch.device("meta"):
        g, d = Generator(resolution, 3, norm="none"), Discriminator(resolution, 3, norm="none")
        assert [g.blocks[0].conv1.in_channels] + [block.conv2.out_channels for block in g.blocks] == g_maps
        shapes, seen, x = [], [], torch.empty(1, 3, resolution, resolution)
        for block in d.blocks:
            if isinstance(block, SelfAttention):    # autocast, which it switches off, knows no meta device
                seen.append(x.shape[-1])
                assert block.query.in_channels == x.shape[1]
                continue
            x = block(x)
            shapes.append((x.shape[1], x.shape[2]))
        if g.attention is not None:
            g.attention = nn.Identity()
            g.attention.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[-1]))
        assert g(torch.empty(2, g.z_dim)).shape == (2, 3, resolution, resolution)
    assert shapes == d_shapes
    assert seen == ([attended, attended] if attended else [])


@pytest.mark.parametrize("attention, seen", [(None, []), (0, []), (8, [8, 8]), (16, [16, 16])])
def test_attention_is_an_option(attention, seen):
    g, d = Generator(32, 1, width=2, attention=attention), Discriminator(32, 1, width=2, attention=attention)
    sizes = []
    for network in (g, d):
        for module in network.modules():
            if isinstance(module, SelfAttention):
                module.register_forward_hook(lambda module, args, output: sizes.append(args[0].shape[-1]))
    assert d(g(torch.randn(2, g.z_dim))).shape == (2, 1)
    assert sizes == seen


def test_generator_block_is_its_figure():
    """Residual: norm, ReLU, upsample, conv, norm, ReLU, conv. Shortcut: upsample, then 1x1."""
    block = GeneratorBlock(4, 3, 5).double()
    x, code = torch.randn(2, 4, 5, 5, dtype=DOUBLE), torch.randn(2, 5, dtype=DOUBLE)

    def up(h):
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    residual = block.conv2(block.norm2(block.conv1(up(block.norm1(x, code).relu())), code).relu())
    torch.testing.assert_close(block(x, code), residual + block.shortcut(up(x)))


def test_every_batch_norm_has_the_paper_s_epsilon():
    norms = [module for module in Generator(16, 1, 3, width=2).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 5 and all(norm.eps == 1e-4 for norm in norms)    # appendix C


def test_modulated_norm_is_the_formula():
    norm = ModulatedNorm(3, 4).double()
    x, code = 3 * torch.randn(5, 3, 2, 2, dtype=DOUBLE) + 1, torch.randn(5, 4, dtype=DOUBLE)
    mean, deviation = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + 1e-4).sqrt()    # eps: app. C
    got = norm(x, code)
    for item in range(5):
        for maps in range(3):
            gain = 1 + norm.gain.weight[maps] @ code[item]
            bias = norm.bias.weight[maps] @ code[item]
            expected = gain * (x[item, maps] - mean[maps]) / deviation[maps] + bias
            torch.testing.assert_close(got[item, maps], expected)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("maps, out, down", [(4, 6, True), (4, 4, True), (4, 6, False), (4, 4, False)])
def test_discriminator_block_is_its_figure(maps, out, down, first):
    block = DiscriminatorBlock(maps, out, down, first).double()
    x = torch.randn(2, maps, 6, 6, dtype=DOUBLE)
    before = x.clone()
    residual = block.conv2(block.conv1(x if first else x.relu()).relu())
    y = residual + (x if block.shortcut is None else block.shortcut(x))
    torch.testing.assert_close(block(x), F.avg_pool2d(y, 2) if down else y)
    assert torch.equal(x, before)
    assert (block.shortcut is None) == (not down and maps == out)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_each_chunk_of_z_reaches_its_block_only(num_classes):
    """Changing one chunk changes the codes of one block, or the first maps: read from the norms' inputs."""
    g = Generator(16, 1, num_classes, z_dim=6, width=2, shared_dim=4).eval()
    codes = {}
    for position, block in enumerate(g.blocks, start=1):
        for name in ("norm1", "norm2"):
            getattr(block, name).gain.register_forward_pre_hook(
                lambda module, args, key=(position, name): codes.__setitem__(key, args[0]))
    g.project.register_forward_pre_hook(lambda module, args: codes.__setitem__((0, "norm1"), args[0]))
    z, cond = torch.randn(2, 6), torch.tensor([2, 0]) if num_classes else None
    g(z, cond)
    for (position, _), code in codes.items():
        label = g.embed.weight[cond] if num_classes and position else torch.empty(2, 0)
        torch.testing.assert_close(code, torch.cat([z[:, 2 * position:2 * position + 2], label], 1))
    assert len(codes) == 5


def test_logit_is_the_sum_of_linear_and_projection():
    d = Discriminator(16, 3, num_classes=4, width=2, norm="none").double()
    x, label = torch.randn(5, 3, 16, 16, dtype=DOUBLE), torch.tensor([3, 0, 1, 1, 2])
    summed = d.blocks(x).relu().flatten(2).sum(2)
    logits, features = d(x, label, return_features=True)
    torch.testing.assert_close(features, summed)
    assert features.shape == (5, d.num_features)
    for item in range(5):
        weight = d.last.weight[0] + d.projection.embed.weight[label[item]]
        torch.testing.assert_close(logits[item, 0], summed[item] @ weight + d.last.bias[0])


@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_spectral_norm_bounds_every_map_of_both_networks_and_no_embedding_of_g(norm):
    g = Generator(16, 1, 3, width=2, attention=8, norm=norm)
    d = Discriminator(16, 1, 3, width=2, attention=8, norm=norm)
    initialise(g, "orthogonal"), initialise(d, "orthogonal")
    for network, kinds in ((g, (nn.Linear, nn.Conv2d)), (d, (nn.Linear, nn.Conv2d, nn.Embedding))):
        layers = [module for module in network.modules() if isinstance(module, kinds)]
        assert all(nn.utils.parametrize.is_parametrized(layer, "weight") == (norm == "spectral") for layer in layers)
        for layer in layers if norm == "spectral" else ():
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    gram = g.embed.weight @ g.embed.weight.T
    torch.testing.assert_close(gram, torch.eye(3))
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


def test_half_precision():
    g, d = Generator(16, 1, 3, width=2, attention=8), Discriminator(16, 1, 3, width=2, attention=8)
    z, cond = torch.randn(4, g.z_dim), torch.tensor([0, 1, 2, 2])
    g.eval(), d.eval()
    with torch.autocast("cpu", torch.bfloat16):
        low = g(z, cond)
        logits = d(low, cond)
    torch.testing.assert_close(low.float(), g(z, cond), rtol=0, atol=0.05)
    torch.testing.assert_close(logits.float(), d(low.float(), cond), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("make, message", [
    (lambda: Generator(48, 3), "data.resolution=48: biggan makes 8, 16, 32, 64, 128, 256 px"),
    (lambda: Discriminator(1, 3), "data.resolution=1: biggan makes .* points need model=toy2d"),
    (lambda: Generator(16, 3, z_dim=100), "model.z_dim=100: biggan at 16 px cuts z into 3 .* of 3, or null for 60"),
    (lambda: Generator(16, 3, z_dim=0), "model.z_dim=0"),
    (lambda: Generator(16, 3, norm="batch"), "model.g_norm=batch: must be one of spectral, none"),
    (lambda: Discriminator(16, 3, norm="layer"), "model.d_norm=layer: must be one of spectral, none"),
    (lambda: Generator(128, 3, attention=128), "model.attention=128: biggan at 128 px has maps of 64, 32, 16, 8, 4 px"),
])
def test_refusals(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_all_plans_are_in_the_tables():
    assert list(PLANS) == [resolution for resolution, *_ in TABLES]
