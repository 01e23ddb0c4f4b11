import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.toy2d import Discriminator, Generator


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_points_have_their_dimension_and_no_bounds(dim):
    torch.manual_seed(0)
    g, d = Generator(dim), Discriminator(dim)
    x = g(1000 * torch.randn(7, g.z_dim))
    assert x.shape == (7, dim) and x.abs().max() > 1
    logits, features = d(x, return_features=True)
    assert logits.shape == (7, 1) and features.shape == (7, 128)
    torch.testing.assert_close(d.last(features), logits)


def test_depth_and_width():
    g, d = Generator(2, z_dim=3, width=16, depth=4), Discriminator(2, width=16, depth=1)
    sizes = [[(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]
             for network in (g, d)]
    assert sizes == [[(3, 16), (16, 16), (16, 16), (16, 16), (16, 2)], [(2, 16), (16, 1)]]


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_images_are_refused(network):
    with pytest.raises(ConfigError, match="data.resolution=32: .*data=gaussians_ring or data=gaussians_grid"):
        network(2, 32)


def test_labels_are_refused():
    label = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="unconditional"):
        Generator(2)(torch.randn(3, 2), label)
    with pytest.raises(ValueError, match="unconditional"):
        Discriminator(2)(torch.randn(3, 2), label)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
def test_double_backward(norm):
    torch.manual_seed(0)
    d = Discriminator(2, norm=norm)
    x = torch.randn(6, 2, requires_grad=True)
    gradient, = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    (gradient.square().sum() - d(x).mean()).backward()
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in d.parameters())


def test_gradient_penalty_of_a_linear_critic():
    """One hidden unit on its linear side: D(x) = <a, x>, so sum ||grad D||^2 / 2 = N ||a||^2 / 2."""
    d = Discriminator(2, width=1, depth=1)
    with torch.no_grad():
        d.hidden[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
        d.hidden[0].bias.fill_(100)
        d.last.weight.fill_(1)
    x = torch.randn(4, 2, requires_grad=True)
    gradient, = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    penalty = gradient.square().sum() / 2
    assert penalty.item() == pytest.approx(4 * 12.5)
    slope, = torch.autograd.grad(penalty, d.hidden[0].weight)
    torch.testing.assert_close(slope, 4 * torch.tensor([[3.0, 4.0]]))
