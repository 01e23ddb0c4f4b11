import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
from gan_lightning.networks.r3gan import Block, Discriminator, Generator, Resample

TINY = {"width": 16, "blocks_per_stage": 1}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def woken(network):
    """The network with its zeros redrawn, as if trained: residual paths count."""
    for module in network.modules():
        if isinstance(module, Block):
            nn.init.normal_(module.conv3.weight, 0.0, 0.1)
            nn.init.normal_(module.conv1.bias, 0.0, 0.1)
    return network


def test_parameter_count_at_the_papers_cifar_settings():
    wide = 2 * 768
    block = 768 * wide + wide + wide * (wide // 96) * 9 + wide + wide * 768    # 96 groups of 16 maps
    with torch.device("meta"):
        g, d = Generator(32, 3), Discriminator(32, 3)
    assert count(g) == 8 * block + 64 * 768 + 768 * 16 + 768 * 3 == 20_732_160
    assert count(d) == 8 * block + 768 * 3 + 768 * 16 + 768 + 1 == 20_683_777
    assert g.stages[0][0].conv2.groups == 96
    with torch.device("meta"):
        g, d = Generator(32, 3, 10), Discriminator(32, 3, 10)
    assert count(g) == 20_732_160 + 64 * 768 + 10 * 64
    assert count(d) == 20_683_777 - 769 + 768 * 768 + 10 * 768 == 21_280_512


@pytest.mark.parametrize("resolution, maps", [(8, [768] * 2), (64, [768] * 4 + [384]), (256, [768] * 4 + [384, 192, 96])])
def test_stages_mirror_each_other(resolution, maps):
    with torch.device("meta"):
        g, d = Generator(resolution, 3), Discriminator(resolution, 3)
        x, sizes = torch.empty(1, 768, 4, 4), []
        for stage in g.stages:
            x = stage(x)
            sizes.append(tuple(x.shape[1:]))
        assert sizes[::2] == [(width, 4 * 2**i, 4 * 2**i) for i, width in enumerate(maps)]
        x, back = d.first(torch.empty(1, 3, resolution, resolution)), []
        for stage in d.stages:
            x = stage(x)
            back.append(tuple(x.shape[1:]))
    assert back[::2] == sizes[::2][::-1]


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("resolution", [8, 16])
def test_r3gan_shapes_and_labels(resolution, num_classes):
    g, d = Generator(resolution, 2, num_classes, z_dim=5, **TINY), Discriminator(resolution, 2, num_classes, **TINY)
    cond = torch.arange(4) % num_classes if num_classes else None
    fake = g(torch.randn(4, 5), cond)
    logits, features = d(fake, cond, return_features=True)
    assert fake.shape == (4, 2, resolution, resolution) and logits.shape == (4, 1)
    assert features.shape == (4, d.num_features) == (4, 16)
    if num_classes:    # nothing that all classes share
        expected = torch.einsum("nc,cf,nf->n", d.embed.weight[cond], d.last.weight, features)[:, None]
        assert d.last.bias is None
        assert not torch.allclose(g(torch.ones(4, 5), cond), g(torch.ones(4, 5), (cond + 1) % 3))
    else:
        expected = features @ d.last.weight.T + d.last.bias
    torch.testing.assert_close(logits, expected)


def test_labels_start_as_linear_maps_of_one_hot_labels():
    """Variances: 1 / classes of G's embedding; of W 1 / width, of D's embedding 1 / (classes x width), so that for
    features of mean square 1 the logits have 1 / classes."""
    g, d = Generator(8, 1, 25, z_dim=400, **TINY), Discriminator(8, 1, 25, width=384, blocks_per_stage=1)
    assert g.label.embed.weight.std().item() == pytest.approx(1 / 5, rel=0.03)
    assert d.last.weight.std().item() == pytest.approx(384**-0.5, rel=0.03)
    assert d.embed.weight.std().item() == pytest.approx((25 * 384)**-0.5, rel=0.03)
    logits = torch.randn(2000, 384) @ (d.embed.weight @ d.last.weight).T
    assert logits.square().mean().item() == pytest.approx(1 / 25, rel=0.1)


def test_the_class_explains_little_of_g_at_first():
    """Blocks are the identity, so that images are linear in (z, embedding). With unit embeddings as long as z, half of
    the variance would be the class's; with 1 / classes of it, 1 / (classes + 1)."""
    g = Generator(8, 1, 4, z_dim=200, **TINY)
    with torch.no_grad():
        images = g(torch.randn(400, 200).repeat(4, 1), torch.arange(4).repeat_interleave(400)).view(4, 400, -1)
    within = images.var(1).mean()
    between = images.mean(1).var(0).mean()
    assert 0.1 < (between / (within + between)).item() < 0.3    # 0.2 in the mean, 0.5 with unit embeddings




def test_block_is_its_formula_with_groups_written_out():
    block = woken(nn.ModuleList([Block(8, 2, 4, 1)]))[0].double()
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    h = F.leaky_relu(torch.einsum("oi,nihw->nohw", block.conv1.weight[..., 0, 0], x) + block.conv1.bias[:, None, None], 0.2)
    groups = [F.conv2d(h[:, 4 * k:4 * k + 4], block.conv2.weight[4 * k:4 * k + 4], padding=1) for k in range(4)]
    h = F.leaky_relu(torch.cat(groups, 1) + block.conv2.bias[:, None, None], 0.2)
    expected = x + torch.einsum("oi,nihw->nohw", block.conv3.weight[..., 0, 0], h)
    torch.testing.assert_close(block(x), expected)
    assert (block(x) - x).abs().max() > 0.1


def test_resampling_is_bilinear_and_halving_is_doubling_transposed():
    up, down = Resample(3, 3, up=True).double(), Resample(3, 3, up=False).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    inner = (..., slice(2, -2), slice(2, -2))    # away from the borders, where zeros are beyond
    torch.testing.assert_close(up(x)[inner], F.interpolate(x, scale_factor=2, mode="bilinear")[inner])
    y = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    expected = F.interpolate(y, scale_factor=0.5, mode="bilinear", antialias=True)
    torch.testing.assert_close(down(y)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])
    torch.testing.assert_close((up(x) * y).sum(), 4 * (x * down(y)).sum())
    assert list(Resample(3, 3, up=True).parameters()) == [] and count(Resample(3, 4, up=True)) == 12


@pytest.mark.parametrize("up", [True, False])
def test_resampling_changes_widths_before_or_after_alike(up):
    layer = Resample(3, 5, up).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    plain = Resample(3, 3, up).double()
    torch.testing.assert_close(layer(x), F.conv2d(plain(x), layer.conv.weight))


def test_first_maps_are_the_basis_scaled_by_z():
    g = Generator(8, 1, z_dim=3, **TINY).double()
    seen = []
    g.stages.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    z = torch.randn(2, 3, dtype=torch.float64)
    g(z)
    torch.testing.assert_close(seen[0], torch.einsum("nz,cz,chw->nchw", z, g.modulation.weight, g.basis[0]))


def test_features_weigh_positions():
    d = Discriminator(8, 1, **TINY).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    maps = d.stages(d.first(x))
    torch.testing.assert_close(d(x, None, True)[1], torch.einsum("nchw,chw->nc", maps, d.basis.weight[:, 0]))


def test_fixup_starts_blocks_as_the_identity_and_scales_the_rest():
    g = Generator(16, 1, width=256, blocks_per_stage=3)
    blocks = [module for module in g.modules() if isinstance(module, Block)]
    x = torch.randn(1, 256, 4, 4)
    assert len(blocks) == 9 and all(torch.equal(block(x), x) for block in blocks)
    for layer, fan_in in ((blocks[4].conv1, 256), (blocks[4].conv2, 16 * 9)):
        expected = (2 / 1.04) ** 0.5 / fan_in**0.5 * 9**-0.25    # L^(-1 / (2m - 2)) with m = 3
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)
        assert not layer.bias.any()
    before = {name: value.clone() for name, value in g.state_dict().items()}
    initialise(g, "he")    # the model's own initialisation stays
    assert all(torch.equal(value, before[name]) for name, value in g.state_dict().items())


def test_no_normalisation_and_biases_only_before_activations():
    for network in (Generator(8, 1, **TINY), Discriminator(8, 1, **TINY)):
        assert not any("Norm" in type(module).__name__ for module in network.modules())
        biased = {name.split(".")[-2] for name, _ in network.named_parameters() if name.endswith("bias")}
        assert biased - {"last"} == {"conv1", "conv2"}


@pytest.mark.parametrize("num_classes", [0, 3])
def test_r3gan_learns_once_it_is_awake(num_classes):
    g, d = woken(Generator(8, 1, num_classes, **TINY)).double(), woken(Discriminator(8, 1, num_classes, **TINY)).double()
    cond = torch.arange(6) % 3 if num_classes else None
    F.softplus(-d(g(torch.randn(6, 64, dtype=torch.float64), cond), cond)).mean().backward()
    for network in (g, d):
        for name, weight in network.named_parameters():
            assert weight.grad is not None and weight.grad.abs().max() > 1e-10, name


def test_r3gan_penalty_equals_a_finite_difference():
    d = woken(Discriminator(8, 1, 3, **TINY)).double()
    x, cond = torch.randn(4, 1, 8, 8, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 0])
    weights = [weight for name, weight in d.named_parameters() if name != "last.bias"]    # which is no part of it
    direction = [torch.randn_like(weight) for weight in weights]

    def penalty():
        gradient, = torch.autograd.grad(d(x, cond).sum(), x, create_graph=True)
        return gradient.square().sum() / 2

    gradients = torch.autograd.grad(penalty(), weights, materialize_grads=True)
    slope = sum((a * b).sum() for a, b in zip(gradients, direction, strict=True)).item()

    def moved(step):
        with torch.no_grad():
            for weight, towards in zip(weights, direction, strict=True):
                weight.add_(towards, alpha=step)
        return penalty().item()

    step = 1e-8    # small: leaky ReLU has kinks
    assert slope != 0 and slope == pytest.approx((moved(step) - moved(-2 * step)) / (2 * step), rel=1e-4)


def test_channels_last_stays_and_changes_nothing():
    g = woken(Generator(16, 1, **TINY))
    z = torch.randn(3, 64)
    plain = g(z)
    seen = []
    g = g.to(memory_format=torch.channels_last)
    g.stages.register_forward_hook(lambda module, args, maps: seen.append((args[0], maps)))
    torch.testing.assert_close(g(z), plain, atol=1e-5, rtol=1e-4)
    assert all(maps.is_contiguous(memory_format=torch.channels_last) for maps in seen[0])


@pytest.mark.parametrize("settings, message", [
    ({"resolution": 28}, "data.resolution=28: r3gan makes 8, 16, 32"),
    ({"resolution": 512}, "data.resolution=512"),
    ({"widths": [16, 16, 16]}, r"model.widths=\[16, 16, 16\]: 8 px needs 2 widths, for 4, 8 px"),
    ({"cardinality": 5}, "model.cardinality=5: does not divide the 32 maps"),
    ({"cardinality": 0}, "model.cardinality=0"),
    ({"blocks_per_stage": 0}, "model.blocks_per_stage=0"),
    ({"expansion": 0}, "model.expansion=0"),
    ({"width": 0}, "model.width=0"),
])
@pytest.mark.parametrize("make", [Generator, Discriminator])
def test_r3gan_settings_that_cannot_be(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**{"resolution": 8, "channels": 1, "width": 16} | settings)


@pytest.mark.parametrize("width, groups", [(50, 5), (24, 3), (4, 1), (768, 96)])
def test_groups_of_16_maps_or_more(width, groups):
    with torch.device("meta"):
        assert Block(width, 2, None, 1).conv2.groups == groups


def test_widths_per_resolution():
    g = Generator(8, 1, widths=[12, 20], cardinality=4, expansion=1)
    assert [g.stages[0][0].conv1.in_channels, g.stages[2][0].conv1.in_channels] == [12, 20]
    assert g.stages[0][0].conv2.weight.shape == (12, 3, 3, 3) and g(torch.randn(2, 64)).shape == (2, 1, 8, 8)
