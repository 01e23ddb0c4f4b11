import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
from gan_lightning.networks import resnet
from gan_lightning.networks.attention import SelfAttention
from gan_lightning.networks.sagan import Discriminator, Generator


def sizes_attended(g, d):
    """(maps, size) of what each network's attention gets."""
    seen = []
    for network in (g, d):
        for module in network.modules():
            if isinstance(module, SelfAttention):
                module.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape[1:3])))
    assert d(g(torch.randn(2, g.z_dim))).shape == (2, 1)
    return seen


@pytest.mark.parametrize("resolution, attention, seen", [
    (8, None, [(2, 4), (2, 4)]), (16, None, [(2, 8), (2, 8)]), (16, 4, [(2, 4), (2, 4)]),
    (32, None, [(2, 16), (2, 16)]), (48, None, [(4, 24), (2, 24)]), (64, None, [(4, 32), (2, 32)]),
    (128, None, [(8, 32), (4, 32)]),    # multiples 4 and 2 of width 2, as in Miyato et al. 2018, table 6
    (128, 64, [(4, 64), (2, 64)]), (16, 0, []),
])
def test_attention_is_over_maps_of_the_size_asked_for(resolution, attention, seen):
    g = Generator(resolution, 1, width=2, attention=attention)
    d = Discriminator(resolution, 1, width=2, attention=attention)
    assert sizes_attended(g, d) == seen


@pytest.mark.parametrize("num_classes", [0, 3])
def test_with_its_gate_closed_it_is_the_residual_network(num_classes):
    cond = torch.tensor([0, 2, 1, 1]) if num_classes else None
    g = Generator(16, 1, num_classes, width=4, spectral=False)
    d = Discriminator(16, 1, num_classes, width=4, norm="none")
    plain_g = resnet.Generator(16, 1, num_classes, width=4)
    plain_d = resnet.Discriminator(16, 1, num_classes, width=4, norm="none")
    for index, block in enumerate(g.blocks):    # the constant that attention sees begins at 0
        assert (block.conv2.bias is not None) == (index == g.attends_at - 1)
    seen = g.blocks[g.attends_at - 1].conv2
    assert not seen.bias.any()
    seen.bias = None
    plain_g.load_state_dict({name: value for name, value in g.state_dict().items() if "attention" not in name})
    assert isinstance(d.blocks[1], SelfAttention)
    first, _, *others = d.blocks    # the residual network's blocks, without what was inserted
    for block, source in zip(plain_d.blocks, (first, *others), strict=True):
        block.load_state_dict(source.state_dict())
    for name in ("last", "projection") if num_classes else ("last",):
        getattr(plain_d, name).load_state_dict(getattr(d, name).state_dict())
    z = torch.randn(4, g.z_dim)
    fake = g(z, cond)
    assert torch.equal(fake, plain_g(z, cond))
    assert torch.equal(d(fake, cond), plain_d(fake, cond))
    for layer in (g.attention, d.blocks[1]):
        nn.init.ones_(layer.gamma)
    assert not torch.allclose(g(z, cond), fake, atol=1e-4)
    assert not torch.allclose(d(fake, cond), plain_d(fake, cond), atol=1e-5)


def test_more_parameters_than_sngan_by_two_attentions_and_a_bias():
    def count(network):
        return sum(parameter.numel() for parameter in network.parameters())

    def attention(maps):
        return 2 * maps * maps // 8 + 2 * maps * maps // 2 + 1

    with torch.device("meta"):
        more_g = count(Generator(128, 3, 1000, spectral=False)) - count(resnet.Generator(128, 3, 1000))
        d, plain_d = (kind(128, 3, 1000, norm="none") for kind in (Discriminator, resnet.Discriminator))
    assert (more_g, count(d) - count(plain_d)) == (attention(256) + 256, attention(128))


@pytest.mark.parametrize("spectral", [True, False])
def test_spectral_norm_bounds_every_map_and_leaves_the_gains_of_classes(spectral):
    g = Generator(16, 1, 3, width=2, spectral=spectral)
    d = Discriminator(16, 1, 3, width=2, norm="spectral" if spectral else "none")
    initialise(g, "glorot"), initialise(d, "glorot")
    for network, kinds in ((g, (nn.Linear, nn.Conv2d)), (d, (nn.Linear, nn.Conv2d, nn.Embedding))):
        for layer in (module for module in network.modules() if isinstance(module, kinds)):
            assert nn.utils.parametrize.is_parametrized(layer, "weight") == spectral
            if spectral:
                with torch.no_grad():
                    for _ in range(100):
                        _ = layer.weight
                norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
                assert norm == pytest.approx(1, abs=0.05)
    embeddings = [module for module in g.modules() if isinstance(module, nn.Embedding)]
    assert embeddings and not any(nn.utils.parametrize.is_parametrized(module) for module in embeddings)


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "spectral"])
def test_everything_learns_and_gradients_have_gradients(norm, num_classes):
    double = torch.float64
    g = Generator(16, 1, num_classes, width=4).to(double)
    d = Discriminator(16, 1, num_classes, width=4, norm=norm).to(double)
    for layer in (g.attention, d.blocks[1]):
        nn.init.constant_(layer.gamma, 0.5)    # closed, it hides the layers behind it
    cond = torch.arange(6) % num_classes if num_classes else None
    fake = g(torch.randn(6, g.z_dim, dtype=double), cond)
    F.softplus(-d(fake, cond)).mean().backward()
    leaf = fake.detach().requires_grad_()
    logits, features = d(leaf, cond, return_features=True)
    gradient, = torch.autograd.grad(logits.sum(), leaf, create_graph=True)
    (gradient.square().sum() + logits.square().mean()).backward()
    assert features.shape == (6, d.num_features)
    for network in (g, d):
        for name, weight in network.named_parameters():
            assert weight.grad.isfinite().all() and weight.grad.abs().max() > 1e-10, name


@pytest.mark.parametrize("make", [Generator, Discriminator])
def test_refusals(make):
    with pytest.raises(ConfigError, match="data.resolution=20: sagan makes 8, 16, 32, 48, 64, 128 px"):
        make(20, 3)
    with pytest.raises(ConfigError, match="model.attention=64: sagan at 64 px has maps of 32, 16, 8, 4 px"):
        make(64, 3, attention=64)
    with pytest.raises(ConfigError, match="norm=bacth: must be one of .*did you mean batch"):
        make(16, 3, norm="bacth")
