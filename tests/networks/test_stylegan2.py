"""StyleGAN2's parts against the paper's equations, its networks against its numbers."""

import math
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from gan_lightning.ema import EMA
from gan_lightning.errors import ConfigError
from gan_lightning.networks import stylegan2
from gan_lightning.networks.noise import noise_layers
from gan_lightning.networks.stylegan2_layers import DiscriminatorBlock, Mapping, ModulatedConv
from gan_lightning.networks.upfirdn import Downsample, Upsample

SMALL = dict(w_dim=12, channel_max=8)
Generator = partial(stylegan2.Generator, 8, 2, z_dim=6, mapping_layers=2, **SMALL)
Discriminator = partial(stylegan2.Discriminator, 8, 2, **SMALL)


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("base, g_millions, d_millions", [(32768, 30, 29), (16384, 25, 24)])
def test_parameters_at_1024_px(base, g_millions, d_millions):
    """Sec. 4.2 on config F: 25 M -> 30 M in G, 24 M -> 29 M in D; the mapping network counts as part of G."""
    with torch.device("meta"):
        g = stylegan2.Generator(1024, 3, channel_base=base)
        d = stylegan2.Discriminator(1024, 3, channel_base=base)
    assert round(count(g) / 1e6) == g_millions and round(count(d) / 1e6) == d_millions
    assert count(g.map) == 8 * (512 * 512 + 512) and g.num_ws == 18


def per_sample(conv, x, w):
    """Equations 1 and 3, a kernel for each sample: returns (I, O, k, k) kernels applied by loops over the batch."""
    style = w @ (conv.affine.weight * conv.affine.scale).T + conv.affine.bias
    out = []
    for image, s in zip(x, style, strict=True):
        kernel = conv.weight * conv.scale * s[None, :, None, None]
        if conv.demodulate:
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if conv.blur is None:
            out.append(F.conv2d(image[None], kernel, padding=kernel.shape[-1] // 2))
        else:
            up = Upsample().double()(image[None])
            out.append(F.conv2d(up, kernel.flip(2, 3), padding=1))
    return torch.cat(out)


@pytest.mark.parametrize("kernel_size, demodulate, up", [(3, True, False), (1, False, False), (3, True, True)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_modulated_convolution_is_the_paper_s(kernel_size, demodulate, up, layout):
    conv = ModulatedConv(3, 4, kernel_size, 5, demodulate, up).double().to(memory_format=layout)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64).contiguous(memory_format=layout)
    w = torch.randn(2, 5, dtype=torch.float64)
    ours, expected = conv(x, w), per_sample(conv, x, w)
    if up:    # at the border the order of filter and convolution shows
        ours, expected = ours[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2]
        assert conv(x, w).shape == (2, 4, 12, 12)
    torch.testing.assert_close(ours, expected)


def test_a_discriminator_block_aligns_its_two_branches():
    """A horizontal ramp, through kernels that pass the middle pixel on, is the same ramp in both branches."""
    block = DiscriminatorBlock(1, 1).double()
    for conv in (block.conv1, block.conv2):
        torch.nn.init.zeros_(conv.weight)
        conv.weight.data[0, 0, 1, 1] = 1 / conv.scale
    block.shortcut.weight.data.fill_(1 / block.shortcut.scale)
    x = torch.arange(1.0, 17, dtype=torch.float64).expand(1, 1, 16, 16)
    ramp = Downsample().double()(x)
    expected = (2 * ramp + ramp) / math.sqrt(2)    # two activations: sqrt(2) each
    torch.testing.assert_close(block(x)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_mapping_sees_directions_of_z_and_learns_slowly():
    mapping = Mapping(6, 3, 12, 2)
    z, cond = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(mapping(z, cond), mapping(5 * z, cond), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mapping(z, cond), mapping(z, (cond + 1) % 3), atol=1e-2)
    assert all(layer.lr == 0.01 for layer in mapping.layers)
    assert mapping.layers[0].in_features == 6 + 12


@pytest.mark.parametrize("num_classes", [0, 3])
def test_forward_is_synthesis_of_one_w_for_all_layers(num_classes):
    g = Generator(num_classes=num_classes).eval()
    z, cond = torch.randn(3, 6), torch.tensor([0, 1, 2]) if num_classes else None
    w = g.mapping(z, cond)
    assert w.shape == (3, 12) and g.num_ws == 4
    assert torch.equal(g(z, cond), g.synthesis(w[:, None].expand(3, 4, 12)))
    assert torch.equal(g(z, cond)[:2], g(z, cond)[:2])


def test_every_w_is_used():
    g = Generator().double().eval()
    ws = g.mapping(torch.randn(1, 6, dtype=torch.float64))[:, None].repeat(1, g.num_ws, 1).requires_grad_()
    g.train()    # no clamp
    gradient, = torch.autograd.grad(g.synthesis(ws).square().sum(), ws)
    assert (gradient.abs().amax(2) > 1e-8).all()


def test_truncation_and_average_of_w():
    g = Generator()
    z = torch.randn(5, 6)
    expected = torch.zeros(12)
    for _ in range(3):
        g(z)
        expected = 0.995 * expected + 0.005 * g.mapping(z).mean(0)
    torch.testing.assert_close(g.w_avg, expected)
    g.psi = 0.25
    assert not torch.equal(g(z), g(z))    # training mode: noise is there, psi is not read
    g.eval()
    before = g.w_avg.clone()
    w = before + 0.25 * (g.mapping(z) - before)
    torch.testing.assert_close(g(z), g.synthesis(w[:, None].expand(-1, g.num_ws, -1)))
    g.psi = 0.0
    torch.testing.assert_close(g(z), g(z.flip(0)))
    assert torch.equal(g.w_avg, before)


def test_noise_is_new_in_training_alone():
    g = Generator(style_mixing=0.0)
    z = torch.randn(3, 6)
    assert torch.equal(g(z), g(z))    # strengths start at zero
    assert len(noise_layers(g)) == g.num_ws - 1    # one per layer; the last w is the last image layer's
    for layer in noise_layers(g):
        torch.nn.init.constant_(layer.strength, 0.3)
    assert not torch.allclose(g(z), g(z), atol=1e-3)
    g.eval()
    const = g(z)
    assert torch.equal(const, g(z))
    torch.testing.assert_close(g(z[:1]), const[:1])    # not a matter of the batch


def test_mixed_styles_are_a_prefix_of_one_latent_and_the_rest_of_another():
    g = stylegan2.Generator(32, 1, z_dim=4, style_mixing=0.5, mapping_layers=2, **SMALL)
    own, other = torch.zeros(4000, g.num_ws, 12), torch.ones(4000, 12)
    taken = g._mix(own, other)[..., 0]
    assert torch.equal(taken, taken.sort(1).values) and not taken[:, 0].any()
    assert taken[:, -1].mean().item() == pytest.approx(0.5, abs=0.04)
    starts = g.num_ws - taken[taken[:, -1] == 1].sum(1)
    assert sorted(starts.unique().tolist()) == list(range(1, g.num_ws))
    assert starts.mean().item() == pytest.approx(g.num_ws / 2, abs=0.3)


def test_mixing_is_for_training_only():
    torch.manual_seed(0)
    g = Generator(style_mixing=1.0)
    z = torch.randn(2, 6)
    assert not torch.allclose(g(z), g(z), atol=1e-3)    # the second latent is new each time
    g.eval()
    assert torch.equal(g(z), g(z))


def test_logit_of_a_class_is_a_product_with_its_normalised_embedding():
    d = Discriminator(num_classes=3).double()
    x, cond = torch.randn(4, 2, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    logits, features = d(x, cond, return_features=True)
    assert features.shape == (4, d.num_features) and not list(d.map.layers)
    for logit, f, label in zip(logits, features, cond, strict=True):
        embedded = d.map.embed.weight[label]
        outputs = d.last.weight @ f / math.sqrt(d.num_features)    # D'(x); its weights are equalised
        expected = (embedded @ outputs) / embedded.norm()          # normalize(e) / sqrt(12) has length 1
        assert logit.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (d(x, (cond + 1) % 3) - logits).abs().min() > 1e-6


def test_more_layers_may_map_the_embedding():
    d = Discriminator(num_classes=3, mapping_layers=2)
    x, cond = torch.randn(4, 2, 8, 8), torch.tensor([0, 1, 2, 1])
    logits, features = d(x, cond, return_features=True)
    label = d.map(None, cond)
    expected = torch.stack([(d.last(f) @ m)[None] / math.sqrt(12) for f, m in zip(features, label, strict=True)])
    torch.testing.assert_close(logits, expected)
    assert len(d.map.layers) == 2


def test_labels_cost_an_embedding_and_the_wider_last_layer():
    with torch.device("meta"):
        with_labels, without = (stylegan2.Discriminator(32, 3, n, channel_base=16384) for n in (10, 0))
    assert count(with_labels) - count(without) == 10 * 512 + 512 * 512 - 513


@pytest.mark.parametrize("num_classes", [0, 3])
def test_every_weight_learns_and_penalties_differentiate_twice(num_classes):
    g, d = Generator(num_classes=num_classes).double(), Discriminator(num_classes=num_classes).double()
    z = torch.randn(6, 6, dtype=torch.float64)
    cond = torch.arange(6) % num_classes if num_classes else None
    F.softplus(-d(g(z, cond), cond)).mean().backward()
    d.zero_grad()
    real = (2 * torch.rand(6, 2, 8, 8, dtype=torch.float64) - 1).requires_grad_()
    logits = d(real, cond)
    gradient, = torch.autograd.grad(logits.sum(), real, create_graph=True)
    (F.softplus(-logits).mean() + gradient.square().sum()).backward()
    for network in (g, d):
        for name, weight in network.named_parameters():
            assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().max() > 1e-12, name


@pytest.mark.parametrize("num_classes", [0, 3])
def test_double_backward_is_a_finite_difference(num_classes):
    d = Discriminator(num_classes=num_classes).double()
    x = torch.randn(4, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    cond = torch.tensor([0, 1, 2, 0]) if num_classes else None
    direction = [torch.randn_like(p) for p in d.parameters()]

    def penalty():
        gradient, = torch.autograd.grad(d(x, cond).sum(), x, create_graph=True)
        return gradient.square().sum()

    gradients = torch.autograd.grad(penalty(), list(d.parameters()), allow_unused=True)
    slope = sum((a * b).sum() for a, b in zip(gradients, direction, strict=True) if a is not None).item()

    def moved(step):
        with torch.no_grad():
            for p, towards in zip(d.parameters(), direction, strict=True):
                p.add_(towards, alpha=step)
        return penalty().item()

    step = 1e-7
    assert slope == pytest.approx((moved(step) - moved(-2 * step)) / (2 * step), rel=1e-3)


def test_range_layout_and_half_precision():
    g, d = Generator().eval(), Discriminator()
    z = torch.randn(4, 6)
    fake = g(z)
    assert fake.shape == (4, 2, 8, 8) and fake.abs().max() <= 1
    g.to(memory_format=torch.channels_last)
    torch.testing.assert_close(g(z), fake)
    with torch.autocast("cpu", torch.bfloat16):
        half = g(z)
        assert d(half).isfinite().all()
    torch.testing.assert_close(half.float(), fake, rtol=0, atol=0.1)


def test_images_start_near_unit_scale_at_any_size():
    for resolution in (8, 64):
        g = stylegan2.Generator(resolution, 3, w_dim=32, z_dim=32, channel_max=32)
        assert 0.3 < g(torch.randn(4, 32)).std().item() < 4


def test_an_average_and_a_checkpoint_sample_alike():
    g = Generator()
    ema = EMA(g)
    g(torch.randn(4, 6))
    with torch.no_grad():
        for layer in g.layers:
            layer.noise.strength.fill_(0.5)
    ema.update(g, nimg=1, images=10_000)    # a half-life of nothing: the average is the live network
    again = Generator()
    again.load_state_dict(g.state_dict())
    z = torch.randn(3, 6)
    g.eval(), again.eval()
    assert torch.equal(g(z), again(z))
    g.psi = ema.network.psi = 0.5
    torch.testing.assert_close(ema.network(z), g(z))


@pytest.mark.parametrize("make, settings, message", [
    (stylegan2.Generator, {"resolution": 12}, "data.resolution=12: stylegan2 makes 8, 16, 32"),
    (stylegan2.Discriminator, {"resolution": 4}, "data.resolution=4: stylegan2 makes 8, 16, 32"),
    (stylegan2.Generator, {"style_mixing": 1.5}, "model.style_mixing=1.5"),
    (stylegan2.Generator, {"mapping_layers": 0}, "model.mapping_layers=0"),
    (stylegan2.Discriminator, {"mapping_layers": -1}, "model.d_mapping_layers=-1: must be at least 0"),
    (stylegan2.Discriminator, {"group_size": 0}, "model.group_size=0"),
    (stylegan2.Discriminator, {"width": 0.0}, "model.width=0.0"),
])
def test_refused(make, settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make(**{"resolution": 8, "channels": 1, **settings})


def test_the_cifar_preset_scales_g_s_adam_as_the_published_runs_do(config):
    cfg = config("experiment=cifar10_stylegan2_ada")
    assert cfg.optim.g.lr == pytest.approx(0.8 * cfg.optim.d.lr) and list(cfg.optim.d.betas) == [0.0, 0.99]
    assert cfg.optim.g.betas[1] == pytest.approx(0.99**0.8, abs=1e-4)
    assert cfg.model.discriminator.mapping_layers == 0 and cfg.model.generator.mapping_layers == 2
    assert not cfg.data.hflip
