"""Progressive growing against its closed forms at alpha 0, 1 and between, and against the paper's numbers."""

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from gan_lightning.build import build_module
from gan_lightning.ema import EMA
from gan_lightning.errors import ConfigError
from gan_lightning.networks import progan
from gan_lightning.networks.equalised import pixel_norm
from gan_lightning.networks.progan import stage_at
from gan_lightning.tasks.base import Clock

SMALL = dict(channel_max=6, kimg_per_stage=2.0, kimg_fade=1.0)
Generator = partial(progan.Generator, 16, 2, z_dim=5, **SMALL)
Discriminator = partial(progan.Discriminator, 16, 2, **SMALL)
# Whole: from 0, 3000 and 6000 on, with fade-ins from 2000 and 5000 on.
STAGES = [(0, 0, 1.0), (1999, 0, 1.0), (2000, 1, 0.0), (2250, 1, 0.25), (3000, 1, 1.0), (4999, 1, 1.0),
          (5000, 2, 0.0), (5500, 2, 0.5), (6000, 2, 1.0), (8000, 2, 1.0), (10**9, 2, 1.0)]


@pytest.mark.parametrize("nimg, stage, alpha", STAGES)
def test_stages_by_hand(nimg, stage, alpha):
    assert stage_at(nimg, 2, 2.0, 1.0) == (stage, pytest.approx(alpha, abs=1e-9))


@pytest.mark.parametrize("stable, fade, nimg, expected", [
    (0.0, 0.0, 0, (2, 1.0)), (1.0, 0.0, 999, (0, 1.0)), (1.0, 0.0, 1000, (1, 1.0)), (1.0, 0.0, 2000, (2, 1.0)),
    (0.0, 1.0, 500, (1, 0.5)), (0.0, 1.0, 1500, (2, 0.5)), (0.0, 1.0, 2000, (2, 1.0)),
])
def test_stages_without_fading_or_without_rest(stable, fade, nimg, expected):
    assert stage_at(nimg, 2, stable, fade) == expected


def test_parameters_at_1024_px():
    """Table 2: 23.1 M in each; the ways to images of smaller sizes are another 8 k here."""
    with torch.device("meta"):
        networks = progan.Generator(1024, 3), progan.Discriminator(1024, 3)
    assert [round(sum(p.numel() for p in n.parameters()) / 1e6, 1) for n in networks] == [23.1, 23.1]
    assert [conv.in_channels for conv in networks[0].to_image] == [512, 512, 512, 512, 256, 128, 64, 32, 16]


def at(nimg, *networks):
    for network in networks:
        network.set_nimg(nimg)


@pytest.mark.parametrize("nimg, size", [(0, 4), (2500, 8), (4000, 8), (5500, 16), (7000, 16)])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_sizes_in_training_and_in_use(nimg, size, num_classes):
    g, d = Generator(num_classes=num_classes), Discriminator(num_classes=num_classes)
    at(nimg, g, d)
    z, cond = torch.randn(4, 5), torch.tensor([0, 1, 2, 0]) if num_classes else None
    fake = g(z, cond)
    assert fake.shape == (4, 2, size, size)
    logits, features = d(fake, cond, return_features=True)
    assert logits.shape == (4, 1) and features.shape == (4, d.num_features)
    assert d.prepare_real(torch.randn(4, 2, 16, 16)).shape == fake.shape
    g.eval()
    shown = g(z, cond)
    torch.testing.assert_close(shown, fake.repeat_interleave(16 // size, 2).repeat_interleave(16 // size, 3).clamp(-1, 1))
    torch.testing.assert_close(d(g(z, cond), cond), d(fake.clamp(-1, 1), cond))    # averaged down to what it was


def by_hand(g, z, stage):
    """G's maps at 4, 8, ... px up to `stage`."""
    h = g.project(pixel_norm(z))
    h = pixel_norm(F.leaky_relu(g.conv(pixel_norm(F.leaky_relu(h, 0.2))), 0.2))
    maps = [h]
    for block in g.blocks[:stage]:
        h = pixel_norm(F.leaky_relu(block.conv1(F.interpolate(maps[-1], scale_factor=2)), 0.2))
        maps.append(pixel_norm(F.leaky_relu(block.conv2(h), 0.2)))
    return maps


@pytest.mark.parametrize("nimg, stage, alpha", STAGES)
def test_images_are_a_blend_of_both_ways(nimg, stage, alpha):
    g = Generator().double()
    at(nimg, g)
    z = torch.randn(3, 5, dtype=torch.float64)
    maps = by_hand(g, z, stage)
    expected = g.to_image[stage](maps[stage])
    if stage:
        old = F.interpolate(g.to_image[stage - 1](maps[stage - 1]), scale_factor=2)
        expected = alpha * expected + (1 - alpha) * old
    torch.testing.assert_close(g(z), expected)


@pytest.mark.parametrize("nimg, stage, alpha", STAGES)
def test_reals_are_as_blurred_as_fakes(nimg, stage, alpha):
    d = Discriminator().double()
    at(nimg, d)
    real = torch.randn(2, 2, 16, 16, dtype=torch.float64)
    size = 4 * 2**stage
    sharp = real.unflatten(2, (size, 16 // size)).unflatten(4, (size, 16 // size)).mean((3, 5))
    expected = sharp
    if alpha < 1:
        means = sharp.unflatten(2, (size // 2, 2)).unflatten(4, (size // 2, 2)).mean((3, 5))
        expected = alpha * sharp + (1 - alpha) * means.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(d.prepare_real(real), expected)


@pytest.mark.parametrize("nimg, stage, alpha", STAGES)
def test_the_critic_s_maps_are_a_blend_of_both_ways(nimg, stage, alpha):
    d = Discriminator().double()
    at(nimg, d)
    size = 4 * 2**stage
    x = torch.randn(2, 2, size, size, dtype=torch.float64)
    h = F.leaky_relu(d.from_image[stage](x), 0.2)
    for index in range(stage - 1, -1, -1):
        block = d.blocks[index]
        h = F.leaky_relu(block.conv2(F.leaky_relu(block.conv1(h), 0.2)), 0.2)
        h = F.avg_pool2d(h, 2)
        if index == stage - 1:
            old = F.leaky_relu(d.from_image[index](F.avg_pool2d(x, 2)), 0.2)
            h = alpha * h + (1 - alpha) * old
    h = F.leaky_relu(d.conv(d.stddev(h)), 0.2)
    features = F.leaky_relu(d.dense(h.flatten(1)), 0.2)
    torch.testing.assert_close(d(x), d.last(features))


def test_growth_starts_where_the_stage_before_ended():
    """At alpha 0 both players see what they saw before, upsampled."""
    g, d = Generator(), Discriminator()
    z = torch.randn(4, 5)
    at(1999, g, d)
    before = g(z)
    score = d(before)
    at(2000, g, d)
    torch.testing.assert_close(g(z), F.interpolate(before, scale_factor=2))
    torch.testing.assert_close(d(g(z)), score)


@pytest.mark.parametrize("nimg", [0, 2300, 5500, 7000])
def test_a_checkpoint_and_an_average_are_at_the_same_stage(nimg):
    g = Generator()
    ema = EMA(g)
    at(nimg, g)
    ema.update(g, nimg=1, images=10**6)    # forgets all: the average is the live network
    again = Generator()
    again.load_state_dict(g.state_dict())
    z = torch.randn(3, 5)
    torch.testing.assert_close(again(z), g(z))    # in training mode, before the clock is told
    g.eval(), again.eval()
    torch.testing.assert_close(again(z), g(z), rtol=0, atol=0)
    torch.testing.assert_close(ema.network(z), g(z))
    d, other = Discriminator(), Discriminator()
    at(nimg, d)
    other.load_state_dict(d.state_dict())
    assert (other.stage, other.fading, other.alpha) == (d.stage, d.fading, d.alpha)


def without_gradient(network):
    return {name.rsplit(".", 1)[0] for name, p in network.named_parameters() if p.grad is None}


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("nimg, unused", [
    (0, {"to_image.1", "to_image.2", "blocks.0.conv1", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2"}),
    (2500, {"to_image.2", "blocks.1.conv1", "blocks.1.conv2"}),
    (5500, {"to_image.0"}), (7000, {"to_image.0", "to_image.1"}),
])
def test_weights_of_other_stages_have_no_gradient_and_all_others_do(nimg, unused, num_classes):
    g, d = Generator(num_classes=num_classes).double(), Discriminator(num_classes=num_classes).double()
    at(nimg, g, d)
    z, cond = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3 if num_classes else None
    F.softplus(-d(g(z, cond), cond)).mean().backward()
    d.zero_grad()
    real = d.prepare_real(torch.randn(6, 2, 16, 16, dtype=torch.float64)).requires_grad_()
    logits = d(real, cond)
    gradient, = torch.autograd.grad(logits.sum(), real, create_graph=True)
    (F.softplus(-logits).mean() + gradient.square().sum()).backward()
    assert without_gradient(g) == unused
    assert without_gradient(d) == {name.replace("to_image", "from_image") for name in unused}
    for network in (g, d):
        for name, p in network.named_parameters():
            assert p.grad is None or p.grad.isfinite().all() and p.grad.abs().max() > 1e-12, name


def test_a_step_of_the_clock_before_backward_does_no_harm():
    g = Generator()
    at(2500, g)
    images = g(torch.randn(2, 5))
    at(2600, g)
    images.square().mean().backward()
    assert g.to_image[1].weight.grad.isfinite().all()


def test_layout_and_half_precision():
    g, d = Generator(), Discriminator()
    at(5500, g, d)
    z = torch.randn(4, 5)
    fake, logits = g(z), d(g(z))
    g.to(memory_format=torch.channels_last), d.to(memory_format=torch.channels_last)
    torch.testing.assert_close(g(z), fake, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(d(fake), logits, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(g(z).float(), fake, rtol=0.1, atol=0.1)
        assert d(g(z)).isfinite().all()


def test_a_game_grows_with_the_clock(config):
    """The engine's own losses, told the time, at each stage, with a penalty on mixed images."""
    module = build_module(config("data=digits", "model=progan", "model.conditional=true", "model.width=0.02",
                                 "model.z_dim=8", "model.kimg_per_stage=1", "model.kimg_fade=1", "loss=wgan_gp"))
    task = module.task
    batch = {"real": 2 * torch.rand(8, 1, 8, 8) - 1, "label": torch.randint(10, (8,))}
    for nimg, stage in ((0, 0), (1500, 1), (2500, 1)):
        for loss in (task.d_loss, task.g_loss):
            sum(loss(batch, Clock(0, nimg, 8)).values()).backward()
        assert (task.g.stage, task.d.stage) == (stage, stage)
    assert all(p.grad.isfinite().all() for p in task.parameters() if p.grad is not None)


@pytest.mark.parametrize("make, settings, message", [
    (progan.Generator, {"resolution": 12}, "data.resolution=12: progan makes 8, 16, 32"),
    (progan.Discriminator, {"resolution": 4}, "data.resolution=4: progan makes 8, 16, 32"),
    (progan.Generator, {"kimg_fade": -1.0}, "model.kimg_fade=-1.0: must be at least 0"),
    (progan.Discriminator, {"group_size": 0}, "model.group_size=0"),
    (progan.Generator, {"width": 0.0}, "model.width=0.0"),
])
def test_refused(make, settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make(**{"resolution": 8, "channels": 1, **settings})


def test_images_of_another_size_are_refused():
    d = Discriminator()
    at(7000, d)
    with pytest.raises(ValueError, match="judges images of 16 px"):
        d(torch.randn(2, 2, 8, 8))
