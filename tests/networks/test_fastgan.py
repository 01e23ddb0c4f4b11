from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gan_lightning.build import build_task
from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
from gan_lightning.losses.adversarial import Hinge
from gan_lightning.networks.fastgan import (
    GLU,
    Discriminator,
    DownBlock,
    Excitation,
    Generator,
    Noise,
    UpBlock,
    excitations,
)
from gan_lightning.tasks.base import Clock


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def conv(maps, out, kernel, bias=False):
    return maps * out * kernel**2 + (out if bias else 0)


def test_excitation_is_equation_1():
    layer = Excitation(3, 5).double()
    small, large = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randn(2, 5, 16, 16, dtype=torch.float64)
    got = layer(small, large)
    for n in range(2):
        pooled = torch.stack([torch.stack([small[n, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2].sum((1, 2)) / 4
                                           for j in range(4)], 1) for i in range(4)], 1)    # (3, 4, 4)
        squeezed = [(layer.squeeze.weight[c] * pooled).sum() for c in range(5)]
        squeezed = torch.stack([h if h > 0 else 0.1 * h for h in squeezed])
        gate = 1 / (1 + (-(layer.excite.weight[:, :, 0, 0] @ squeezed)).exp())
        for c in range(5):
            torch.testing.assert_close(got[n, c], gate[c] * large[n, c])
    assert count(layer) == 3 * 5 * 16 + 5 * 5    # no biases


@pytest.mark.parametrize("resolution, pairs", [
    (32, {32: 4}), (64, {64: 4}), (128, {64: 4, 128: 8}), (256, {64: 4, 128: 8, 256: 16}),
    (512, {64: 4, 128: 8, 256: 16, 512: 32}), (1024, {64: 4, 128: 8, 256: 16, 512: 32}),
])
def test_pairs_and_sizes(resolution, pairs):
    assert excitations(resolution) == pairs
    with torch.device("meta"):
        g, d = Generator(resolution, 3), Discriminator(resolution, 3, patch_logits=False)
        x = torch.empty(2, 3, resolution, resolution)
        assert g(torch.empty(2, 256)).shape == x.shape and d(x).shape == (2, 1)
        assert d.to_16(d.first(x)).shape == (2, 256, 16, 16)
        whole, part = d.reconstruct(x, 3)
    assert whole[0].shape == whole[1].shape == (2, 3, *[min(resolution, 128)] * 2)
    assert part[0].shape == part[1].shape == (2, 3, *[min(resolution // 2, 128)] * 2)
    assert {int(name) for name in g.excitations} == set(pairs)


def test_generator_maps_are_those_of_figure_3():
    maps = {4: 1024, 8: 512, 16: 256, 32: 128, 64: 128, 128: 64, 256: 32}
    with torch.device("meta"):
        g = Generator(256, 3)
        h = g.project(torch.empty(1, 256))
        seen = {4: h.shape[1]}
        for size, block in g.blocks.items():
            h = block(h)
            seen[int(size)] = h.shape[1]
            assert h.shape[-1] == int(size)
    assert seen == maps


def test_discriminator_maps_are_1024_over_their_size():
    """16 at 256 px to 512 at 8 px, and decoders of 256, 128, 128, 64 maps before their gates, a half after."""
    with torch.device("meta"):
        g, d = Generator(256, 3), Discriminator(256, 3)
        h = d.first(torch.empty(1, 3, 256, 256))
        seen = {h.shape[-1]: h.shape[1]}
        for block in [*d.to_16, d.to_8]:
            h = block(h)
            seen[h.shape[-1]] = h.shape[1]
        assert d.mix(h).shape == (1, 1024, 8, 8)
        above_256 = Discriminator(1024, 3).first
    assert seen == {256: 16, 128: 32, 64: 64, 32: 128, 16: 256, 8: 512}
    assert [layer.out_channels for layer in above_256 if isinstance(layer, nn.Conv2d)] == [8, 16]    # at 512, 256 px
    for name, maps in (("whole", 512), ("part", 256)):
        fans = [maps, 128, 64, 64, 32]
        blocks = sum(conv(a, 2 * b, 3) + 4 * b for a, b in pairwise(fans))
        assert count(d.decoders[name]) == blocks + conv(32, 3, 3, True)
    def down(a, b):
        return conv(a, b, 4) + conv(b, b, 3) + conv(a, b, 1) + 3 * 2 * b
    encoder = conv(3, 16, 3, True) + sum(down(2**k, 2**(k + 1)) for k in range(4, 9))
    assert count(d) - count(d.decoders) == encoder + conv(512, 1024, 1) + 2 * 1024 + conv(1024, 1, 4, True) == 6_659_841
    assert (count(d.decoders["whole"]), count(d.decoders["part"])) == (1_439_715, 849_891)
    assert count(g) == 29_127_657


def test_parameter_count_by_hand():
    g, d = Generator(32, 3, width=4, z_dim=7), Discriminator(32, 3, width=4, decoders=False)
    m = {4: 64, 8: 32, 16: 16, 32: 8}
    first = 7 * 2 * m[4] * 16 + 2 * 2 * m[4]
    noisy = {size: conv(m[size // 2], 2 * m[size], 3) + conv(m[size], 2 * m[size], 3) + 2 * (1 + 4 * m[size])
             for size in (8, 32)}
    plain = conv(m[8], 2 * m[16], 3) + 4 * m[16]
    excitation = conv(m[4], m[32], 4) + conv(m[32], m[32], 1)
    assert count(g) == first + sum(noisy.values()) + plain + excitation + conv(m[32], 3, 3, True)
    def down(a, b):
        return conv(a, b, 4) + conv(b, b, 3) + conv(a, b, 1) + 3 * 2 * b
    assert count(d) == conv(3, 8, 3, True) + down(8, 16) + down(16, 32) + conv(32, 64, 1) + 128 + conv(64, 1, 4, True)


@pytest.mark.parametrize("noisy", [False, True])
def test_up_block_is_its_figure(noisy):
    block = UpBlock(3, 2, 8, noisy).double().eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
        if isinstance(norm, Noise):
            nn.init.constant_(norm.strength, 0.3)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    convs = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
    noises = [layer for layer in block.modules() if isinstance(layer, Noise)]
    assert len(convs) == len(norms) == (2 if noisy else 1) and len(noises) == (2 if noisy else 0)
    h = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for i, layer in enumerate(convs):
        h = F.conv2d(h, layer.weight, padding=1)
        h = h + 0.3 * noises[i].constant if noisy else h
        h = (h - norms[i].running_mean[:, None, None]) / (norms[i].running_var[:, None, None] + 1e-5).sqrt()
        h = h[:, :2] / (1 + (-h[:, 2:]).exp())
    torch.testing.assert_close(block(x), h)


def test_down_block_is_the_mean_of_its_two_ways():
    block = DownBlock(3, 5, "none").double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    a, b, c = (layer for layer in block.modules() if isinstance(layer, nn.Conv2d))
    def act(h):
        return torch.where(h > 0, h, 0.1 * h)
    main = act(F.conv2d(act(F.conv2d(x, a.weight, a.bias, stride=2, padding=1)), b.weight, b.bias, padding=1))
    direct = act(F.conv2d(F.avg_pool2d(x, 2), c.weight, c.bias))
    torch.testing.assert_close(block(x), (main + direct) / 2)


def test_a_sample_is_a_function_of_its_z():
    g = Generator(32, 1, width=4)
    for module in g.modules():
        if isinstance(module, Noise):
            nn.init.constant_(module.strength, 1.0)
    z = torch.randn(4, 256)
    assert not torch.equal(g(z), g(z))
    g.eval()
    torch.testing.assert_close(torch.cat([g(z[:1]), g(z[1:])]), g(z), rtol=0, atol=1e-6)
    copy = Generator(32, 1, width=4).eval()
    copy.load_state_dict(g.state_dict())
    assert torch.equal(copy(z), g(z))


@pytest.mark.parametrize("norm", ["batch", "none", "spectral", "layer", "instance"])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_fastgan_learns(norm, num_classes):
    """Decoders through their own loss alone; all the rest through the game alone."""
    g = Generator(32, 2, num_classes, width=2).double()
    d = Discriminator(32, 2, num_classes, width=2, norm=norm).double()
    cond = torch.arange(6) % 3 if num_classes else None
    z, real = torch.randn(6, 256, dtype=torch.float64), torch.rand(6, 2, 32, 32, dtype=torch.float64) * 2 - 1
    fake = g(z, cond)
    assert fake.shape == real.shape and fake.abs().max() <= 1
    (F.softplus(d(fake, cond)) + F.softplus(-d(real, cond))).mean().backward()
    for network in (g, d):
        for name, weight in network.named_parameters():
            if name.startswith("decoders"):
                assert weight.grad is None, name
            else:
                assert weight.grad.abs().max() > 1e-12, name
    g.zero_grad(), d.zero_grad()
    sum((decoded - target).abs().mean() for decoded, target in d.reconstruct(real, 1)).backward()
    for name, weight in d.named_parameters():
        if name.startswith("decoders"):
            assert weight.grad.abs().max() > 1e-12, name


def test_logit_is_the_mean_over_positions_and_the_projection():
    d = Discriminator(32, 1, num_classes=3, width=2, norm="none", patch_logits=False).double()
    x, cond = torch.randn(3, 1, 32, 32, dtype=torch.float64), torch.tensor([2, 0, 1])
    logits, features = d(x, cond, return_features=True)
    maps = d.mix(d.to_8(d.to_16(d.first(x))))
    patches = torch.stack([(maps[:, :, i:i + 4, j:j + 4] * d.last.weight).sum((1, 2, 3))
                           for i in range(5) for j in range(5)], 1)
    torch.testing.assert_close(features, maps.sum((2, 3)) / 64)
    projected = (d.projection.embed.weight[cond] * features).sum(1, keepdim=True)
    torch.testing.assert_close(logits, patches.sum(1, keepdim=True) / 25 + d.last.bias + projected)
    assert features.shape == (3, d.num_features)


def test_patch_logits_are_those_of_the_places_whose_mean_is_the_logit():
    mean, patches = (Discriminator(32, 1, 3, width=2, norm="none", patch_logits=yes).double() for yes in (False, True))
    patches.load_state_dict(mean.state_dict())
    x, cond = torch.randn(3, 1, 32, 32, dtype=torch.float64), torch.tensor([2, 0, 1])
    logits, features = patches(x, cond, return_features=True)
    maps = patches.mix(patches.to_8(patches.to_16(patches.first(x))))
    projected = (patches.projection.embed.weight[cond] * features).sum(1)
    for i in range(5):
        for j in range(5):
            place = (maps[:, :, i:i + 4, j:j + 4] * patches.last.weight).sum((1, 2, 3)) + patches.last.bias
            torch.testing.assert_close(logits[:, 5 * i + j], place + projected)
    assert logits.shape == (3, 25)
    torch.testing.assert_close(logits.mean(1, keepdim=True), mean(x, cond))


def test_hinge_of_patches_is_larger_than_of_their_mean():
    """E relu(1 - c) of c ~ N(1, s) is s / sqrt(2 pi): 0.40 for patches, a fifth of it for means of 25."""
    logits, loss = 1 + torch.randn(20_000, 25), Hinge()
    nothing = torch.full((1, 1), -1.0)    # fakes at the margin cost nothing
    assert loss.d_loss(logits, nothing).item() == pytest.approx(0.3989, rel=0.01)
    assert loss.d_loss(logits.mean(1, keepdim=True), nothing).item() == pytest.approx(0.3989 / 5, rel=0.03)


def test_a_gradient_penalty_is_of_the_mean_of_patches(config):
    """R1 of an image whose logits are many is that of one with their mean."""
    def penalty(patches: bool) -> torch.Tensor:
        torch.manual_seed(0)
        task = build_task(config("model=fastgan", "data=digits", "data.resolution=32", "model.width=2", "term=[r1]",
                                 f"model.patch_logits={patches}", "model.d_norm=none"))
        return task.d_loss({"real": real, "z": torch.zeros(4, task.g.z_dim)}, Clock(0, 0))["r1"]

    real = torch.rand(4, 1, 32, 32) * 2 - 1
    assert penalty(True).item() == pytest.approx(penalty(False).item(), rel=1e-4) and penalty(True) > 0


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("loss", ["hinge", "lsgan", "rpgan"])
@pytest.mark.parametrize("more", [["augment=ada"], ["term=[lecam,top_k]"], ["term=[consistency,drift]"],
                                  ["conditioning=projection"]])
def test_games_of_patches(config, loss, more, conditional):
    """Losses, terms, heads and steering take a logit of each patch; the loss is the mean over images and places."""
    if ("rpgan" == loss and "top_k" in str(more)) or (not conditional and "conditioning" in str(more)):
        pytest.skip("refused with any model")
    cfg = config("model=fastgan", "data=digits", "data.resolution=32", "model.width=2", f"model.conditional={conditional}",
                 f"loss={loss}", *more)
    task = build_task(cfg)
    batch = {"real": torch.rand(4, 1, 32, 32) * 2 - 1, "label": torch.arange(4)}
    d_losses, g_losses = task.d_loss(batch, Clock(0, 0)), task.g_loss(batch, Clock(0, 0))
    assert [logits.shape for logits in task.last_logits] == [(4, 25)] * 2
    assert d_losses["adv"].item() == pytest.approx(task.objective.adversarial.d_loss(*task.last_logits).item(), rel=1e-5)
    for losses in (d_losses, g_losses):
        assert all(value.shape == () and value.isfinite() for value in losses.values())
        sum(losses.values()).backward()


@pytest.mark.parametrize("make", [Generator, Discriminator])
def test_spectral_norm_besides_batch_norm(make):
    """All weights of convolutions and dense layers have a largest singular value of 1; norms are as without it."""
    plain, spectral = make(32, 1, width=4), make(32, 1, width=4, spectral=True)
    initialise(spectral, "normal")
    layers = [layer for layer in spectral.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert layers and all(is_parametrized(layer, "weight") for layer in layers)
    spectral.train()
    for layer in layers:
        for _ in range(200):    # power iterations
            weight = layer.weight
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.01)
    norms = [sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) for network in (plain, spectral)]
    assert norms[0] == norms[1] > 0 and count(plain) == count(spectral)
    assert not is_parametrized(make(32, 1, 3, width=4).last)


@pytest.mark.parametrize("part, rows, columns", [(0, (0, 16), (0, 16)), (1, (0, 16), (16, 32)), (2, (16, 32), (0, 16)),
                                                 (3, (16, 32), (16, 32))])
def test_targets_are_the_image_and_the_quarter_that_the_maps_show(part, rows, columns):
    d = Discriminator(32, 1, width=2, norm="none")
    x = torch.rand(2, 1, 32, 32)
    (whole, target), (quarter, quarter_target) = d.reconstruct(x, part)
    assert torch.equal(target, x) and torch.equal(quarter_target, x[..., slice(*rows), slice(*columns)])
    maps = d.to_16(d.first(x))[..., rows[0] // 2:rows[1] // 2, columns[0] // 2:columns[1] // 2]
    assert torch.equal(quarter, d.decoders["part"](maps)) and quarter.shape == quarter_target.shape == (2, 1, 16, 16)


def test_large_targets_are_means_over_pixels():
    d = Discriminator(256, 1, width=2, norm="none")
    x = torch.rand(1, 1, 256, 256)
    (whole, target), (quarter, quarter_target) = d.reconstruct(x, 2)
    torch.testing.assert_close(target[0, 0, 5, 9], x[0, 0, 10:12, 18:20].mean())
    assert whole.shape == target.shape == quarter.shape and torch.equal(quarter_target, x[..., 128:, :128])


def test_fastgan_penalty_equals_a_finite_difference():
    d = Discriminator(32, 1, width=2, norm="none", decoders=False).double()
    x = torch.randn(3, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    weights = [weight for name, weight in d.named_parameters() if name != "last.bias"]
    direction = [torch.randn_like(weight) for weight in weights]

    def penalty():
        gradient, = torch.autograd.grad(d(x).sum(), x, create_graph=True)
        return gradient.square().sum() / 2

    gradients = torch.autograd.grad(penalty(), weights, materialize_grads=True)
    slope = sum((a * b).sum() for a, b in zip(gradients, direction, strict=True)).item()

    def moved(step):
        with torch.no_grad():
            for weight, towards in zip(weights, direction, strict=True):
                weight.add_(towards, alpha=step)
        return penalty().item()

    step = 1e-8    # small: leaky ReLU has kinks
    assert slope != 0 and slope == pytest.approx((moved(step) - moved(-2 * step)) / (2 * step), rel=1e-3)


def test_channels_last_reaches_every_block():
    g = Generator(32, 1, width=4).to(memory_format=torch.channels_last)
    seen = []
    for layer in g.blocks.modules():
        if isinstance(layer, (nn.Conv2d, GLU)):
            layer.register_forward_hook(lambda module, args, maps: seen.append(maps))
    g(torch.randn(4, 256))
    assert len(seen) == 10 and all(maps.is_contiguous(memory_format=torch.channels_last) for maps in seen)


@pytest.mark.parametrize("make", [Generator, Discriminator])
@pytest.mark.parametrize("resolution", [16, 48, 2048])
def test_fastgan_sizes_that_cannot_be(make, resolution):
    with pytest.raises(ConfigError, match=f"data.resolution={resolution}: fastgan makes 32, 64, 128, 256, 512, 1024 px"):
        make(resolution, 3)
    with pytest.raises(ConfigError, match="model.width=0: must be at least 1"):
        make(32, 3, width=0)


def test_unknown_norm_and_missing_decoders():
    with pytest.raises(ConfigError, match="model.d_norm=bacth: .*did you mean batch"):
        Discriminator(32, 1, norm="bacth")
    with pytest.raises(ConfigError, match="model.decoders=false"):
        Discriminator(32, 1, width=2, decoders=False).reconstruct(torch.zeros(1, 1, 32, 32), 0)
