"""What holds for the networks of every model: shapes, labels, gradients, checkpoints."""

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
from gan_lightning.networks import dcgan, deconv_mlp, mlp, mlp_conv, resnet, upsample_mlp

# name -> generator, discriminator, resolutions to try (small widths: these tests are about wiring)
PAIRS = {
    "mlp": (mlp.Generator, mlp.Discriminator, (4, 9)),
    "upsample_mlp": (upsample_mlp.Generator, partial(mlp.Discriminator, hidden=(512, 256)), (8, 12)),
    "deconv_mlp": (deconv_mlp.Generator, partial(mlp.Discriminator, hidden=(64, 32), norm="batch"), (8, 12)),
    "mlp_conv": (partial(mlp.Generator, hidden=(256, 256), output="tanh"), mlp_conv.Discriminator, (8, 28)),
    "dcgan": (partial(dcgan.Generator, width=4), partial(dcgan.Discriminator, width=4), (8, 28, 14, 48, 128)),
    "resnet": (partial(resnet.Generator, width=6), partial(resnet.Discriminator, width=6), (32, 48, 64, 128)),
}
CASES = [(name, resolution) for name, (_, _, resolutions) in PAIRS.items() for resolution in resolutions]
SMALL = [(name, resolutions[0]) for name, (_, _, resolutions) in PAIRS.items()]
N, CLASSES = 6, 3
NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)

D_NORMS = [(name, norm) for name in ("mlp", "upsample_mlp", "deconv_mlp", "mlp_conv", "dcgan", "resnet")
           for norm in ("none", "batch", "layer", "spectral")] \
    + [(name, "instance") for name in ("mlp_conv", "dcgan", "resnet")]
G_NORMS = [(name, norm) for name in ("upsample_mlp", "deconv_mlp", "dcgan", "resnet")
           for norm in ("batch", "none", "instance", "layer")]


def pair(name, resolution, channels=1, num_classes=0, g_norm=None, d_norm=None):
    make_g, make_d, _ = PAIRS[name]
    g = make_g(resolution, channels, num_classes, **({"norm": g_norm} if g_norm else {}))
    d = make_d(resolution, channels, num_classes, **({"norm": d_norm} if d_norm else {}))
    return g, d


def inputs(g, resolution, channels, num_classes, dtype=torch.float32):
    cond = torch.arange(N) % num_classes if num_classes else None
    real = 2 * torch.rand(N, channels, resolution, resolution, dtype=dtype) - 1
    return torch.randn(N, g.z_dim, dtype=dtype), real, cond


def assert_all_learn(network):
    """float64 tells a small gradient from one that is zero but for rounding."""
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-10, name


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("num_classes", [0, CLASSES])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name, resolution", CASES)
def test_shapes_and_range(name, resolution, channels, num_classes):
    g, d = pair(name, resolution, channels, num_classes)
    z, real, cond = inputs(g, resolution, channels, num_classes)
    fake = g(100 * z, cond)
    assert fake.shape == real.shape
    assert fake.min() < 0 < fake.max() and fake.abs().max() <= 1
    logits, features = d(fake, cond, return_features=True)
    assert logits.shape == (N, 1) and features.ndim == 2 and len(features) == N
    assert g.num_classes == d.num_classes == num_classes


@pytest.mark.parametrize("num_classes", [0, CLASSES])
@pytest.mark.parametrize("name, resolution", SMALL)
def test_features_are_what_the_last_layer_sees(name, resolution, num_classes):
    g, d = pair(name, resolution, 2, num_classes)
    d.eval()
    z, real, cond = inputs(g, resolution, 2, num_classes)
    seen = []
    d.last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    logits, features = d(real, cond, return_features=True)
    assert torch.equal(seen[0], features)
    assert torch.equal(d(real, cond), logits)


@pytest.mark.parametrize("init", [None, "normal", "glorot", "he", "orthogonal"])
@pytest.mark.parametrize("num_classes", [0, CLASSES])
@pytest.mark.parametrize("name, resolution", SMALL)
def test_every_parameter_learns(name, resolution, num_classes, init):
    g, d = (network.double() for network in pair(name, resolution, 3, num_classes))
    initialise(g, init)
    initialise(d, init)
    z, real, cond = inputs(g, resolution, 3, num_classes, torch.float64)
    F.softplus(-d(g(z, cond), cond)).mean().backward()
    assert_all_learn(g)
    d.zero_grad()
    (F.softplus(d(g(z, cond).detach(), cond)) + F.softplus(-d(real, cond))).mean().backward()
    assert_all_learn(d)


@pytest.mark.parametrize("num_classes", [0, CLASSES])
@pytest.mark.parametrize("name, norm", D_NORMS)
def test_every_discriminator_norm_learns(name, norm, num_classes):
    resolution = PAIRS[name][2][1]
    g, d = pair(name, resolution, 1, num_classes, d_norm=norm)
    d.double()
    _, real, cond = inputs(g, resolution, 1, num_classes, torch.float64)
    F.softplus(-d(real, cond)).mean().backward()
    assert_all_learn(d)


@pytest.mark.parametrize("num_classes", [0, CLASSES])
@pytest.mark.parametrize("name, norm", D_NORMS)
def test_double_backward_equals_a_finite_difference(name, norm, num_classes):
    """The derivative of sum ||grad D||^2 / 2 along a random direction of the weights, in both ways."""
    resolution = PAIRS[name][2][1]
    g, d = pair(name, resolution, 1, num_classes, d_norm=norm)
    d.double().eval()    # eval: batch norm and power iterations hold still while the difference is taken
    _, real, cond = inputs(g, resolution, 1, num_classes, torch.float64)
    real.requires_grad_()
    weights = list(d.parameters())
    direction = [torch.randn_like(weight) for weight in weights]

    def penalty():
        gradient, = torch.autograd.grad(d(real, cond).sum(), real, create_graph=True)
        return gradient.square().sum() / 2

    gradients = torch.autograd.grad(penalty(), weights, allow_unused=True)
    slope = sum((a * b).sum() for a, b in zip(gradients, direction, strict=True) if a is not None)

    def moved(step):
        with torch.no_grad():
            for weight, towards in zip(weights, direction, strict=True):
                weight.add_(towards, alpha=step)
        return penalty().detach()

    step = 1e-9    # small: leaky ReLU has kinks, and a difference across one is not the derivative
    difference = (moved(step) - moved(-2 * step)) / (2 * step)
    assert slope != 0
    assert slope.item() == pytest.approx(difference.item(), rel=1e-3)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
@pytest.mark.parametrize("name, resolution", SMALL)
def test_double_backward_in_training_mode(name, resolution, norm):
    g, d = pair(name, resolution, 1, CLASSES, d_norm=norm)
    _, real, cond = inputs(g, resolution, 1, CLASSES)
    real.requires_grad_()
    gradient, = torch.autograd.grad(d(real, cond).sum(), real, create_graph=True)
    penalty = gradient.square().flatten(1).sum(1).mean()
    (F.softplus(-d(real, cond)).mean() + penalty).backward()
    assert all(weight.grad.isfinite().all() for weight in d.parameters())


@pytest.mark.parametrize("name, norm", G_NORMS)
def test_every_generator_norm_learns(name, norm):
    resolution = PAIRS[name][2][0]
    num_classes = 0 if norm == "none" else CLASSES
    networks = pair(name, resolution, 1, num_classes, g_norm=norm, d_norm="none")
    g, d = (network.double() for network in networks)
    z, real, cond = inputs(g, resolution, 1, num_classes, torch.float64)
    F.softplus(-d(g(z, cond), cond)).mean().backward()
    assert_all_learn(g)


@pytest.mark.parametrize("name, resolution", SMALL)
def test_labels_matter(name, resolution):
    g, d = pair(name, resolution, 1, CLASSES)
    g.eval(), d.eval()
    z, real, cond = inputs(g, resolution, 1, CLASSES)
    for norm in g.modules():    # a new conditional norm treats all classes alike: as if trained
        if hasattr(norm, "gain"):
            nn.init.normal_(norm.gain.weight)
    other = (cond + 1) % CLASSES
    assert torch.equal(g(z, cond), g(z, cond)) and torch.equal(d(real, cond), d(real, cond))
    assert ((g(z, cond) - g(z, other)).flatten(1).abs().amax(1) > 1e-4).all()
    assert ((d(real, cond) - d(real, other)).abs() > 1e-4).all()


@pytest.mark.parametrize("name, resolution", SMALL)
def test_labels_must_come_where_they_are_taken_and_only_there(name, resolution):
    plain = pair(name, resolution)
    labelled = pair(name, resolution, num_classes=CLASSES)
    z, real, cond = inputs(plain[0], resolution, 1, CLASSES)
    for network, x in zip(plain, (z, real), strict=True):
        with pytest.raises(ValueError, match="unconditional"):
            network(x, cond)
    for network, x in zip(labelled, (z, real), strict=True):
        with pytest.raises(ValueError, match="must not be None"):
            network(x)
        with pytest.raises(ValueError, match="int64"):
            network(x, F.one_hot(cond, CLASSES))
        with pytest.raises(ValueError, match="int64"):
            network(x, cond.float())


@pytest.mark.parametrize("name, resolution, allowed", [
    ("mlp", 1, "model=toy2d"), ("upsample_mlp", 1, "model=toy2d"), ("deconv_mlp", 1, "model=toy2d"),
    ("mlp_conv", 1, "model=toy2d"), ("dcgan", 1, "model=toy2d"), ("resnet", 1, "model=toy2d"),
    ("upsample_mlp", 4, "multiples of 4"), ("upsample_mlp", 30, "28, 32"), ("deconv_mlp", 30, "28, 32"),
    ("dcgan", 6, "8, 10, 12, 14, 16"), ("dcgan", 30, "28, 32"), ("dcgan", 256, "96, 112, 128"),
    ("resnet", 28, "32, 48, 64, 128"), ("resnet", 96, "32, 48, 64, 128"),
])
def test_impossible_resolutions_name_the_possible_ones(name, resolution, allowed):
    for make in PAIRS[name][:2]:
        if isinstance(make, partial) and make.func is mlp.Discriminator and resolution > 1:
            continue    # this opponent takes any size; its generator does not
        with pytest.raises(ConfigError, match=re.escape(allowed)) as error:
            make(resolution, 3)
        assert f"data.resolution={resolution}" in str(error.value) and "\n" not in str(error.value)


def test_small_images_are_refused_by_the_convolutional_opponent_of_mlp_conv():
    with pytest.raises(ConfigError, match="data.resolution=7"):
        mlp_conv.Discriminator(7, 1)
    with pytest.raises(ConfigError, match="model.d_norm=instance"):
        mlp_conv.Discriminator(8, 1, norm="instance")
    assert mlp_conv.Discriminator(9, 1, norm="instance")(torch.rand(2, 1, 9, 9)).shape == (2, 1)


@pytest.mark.parametrize("make", [
    upsample_mlp.Generator, deconv_mlp.Generator, dcgan.Generator, resnet.Generator,
    mlp.Discriminator, mlp_conv.Discriminator, dcgan.Discriminator, resnet.Discriminator,
])
def test_unknown_norms_are_refused_by_name(make):
    with pytest.raises(ConfigError, match="norm=bacth: must be one of .*did you mean batch"):
        make(32, 3, norm="bacth")


@pytest.mark.parametrize("name", ["dcgan", "resnet"])
def test_a_conditional_generator_without_norm_is_refused(name):
    with pytest.raises(ConfigError, match="model.g_norm=none"):
        pair(name, 32, num_classes=CLASSES, g_norm="none")


@pytest.mark.parametrize("name, resolution", SMALL)
@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_a_critic_without_norm_has_no_normalisation(name, resolution, norm):
    _, d = pair(name, resolution, d_norm=norm)
    assert not any(isinstance(module, NORMALISATIONS) for module in d.modules())


@pytest.mark.parametrize("name", PAIRS)
def test_no_norm_stands_on_the_image_or_on_the_first_layer(name):
    _, d = pair(name, 32, 3, d_norm="batch")
    norms = [module for module in d.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    layers = [module for module in d.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    order = []
    for module in (*norms, *layers):
        module.register_forward_pre_hook(lambda module, args: order.append(module))
    d(torch.rand(4, 3, 32, 32))
    first = min(order.index(norm) for norm in norms)
    assert order[0] is layers[0] and first >= 2 and len(norms) > 0


@pytest.mark.parametrize("name, resolution", SMALL)
@pytest.mark.parametrize("num_classes", [0, CLASSES])
def test_spectral_norm_bounds_every_weight(name, resolution, num_classes):
    _, d = pair(name, resolution, 3, num_classes, d_norm="spectral")
    layers = [layer for layer in d.modules() if isinstance(layer, (nn.Linear, nn.Conv2d, nn.Embedding))]
    for layer in layers:
        assert nn.utils.parametrize.is_parametrized(layer, "weight")
        with torch.no_grad():
            for _ in range(100):
                _ = layer.weight    # in training mode, each look is one power iteration
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    assert any(isinstance(layer, nn.Embedding) for layer in layers) == bool(num_classes)


@pytest.mark.parametrize("d_norm", ["none", "spectral"])
@pytest.mark.parametrize("name, resolution", SMALL)
def test_state_dict_round_trip(name, resolution, d_norm):
    first, second = (pair(name, resolution, 1, CLASSES, d_norm=d_norm) for _ in range(2))
    z, real, cond = inputs(first[0], resolution, 1, CLASSES)
    for source, target, x in zip(first, second, (z, real), strict=True):
        source(x, cond)    # moves the running statistics
        source.eval(), target.eval()
        if target is second[1] or name not in ("dcgan", "resnet"):
            assert not torch.equal(source(x, cond), target(x, cond))
        target.load_state_dict(source.state_dict())
        assert torch.equal(source(x, cond), target(x, cond))
