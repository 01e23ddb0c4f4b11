"""The four small pairs: the layers that their descriptions name."""

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks import deconv_mlp, mlp, mlp_conv, upsample_mlp


def dense(sizes):
    """Parameters of linear layers with biases."""
    return sum(a * b + b for a, b in zip(sizes, sizes[1:], strict=False))


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("network, expected", [
    (mlp.Generator(28, 1), dense([100, 128, 128, 100, 100, 784])),
    (mlp.Generator(28, 1, 10), dense([132, 128, 128, 100, 100, 784]) + 10 * 32),
    (mlp.Discriminator(28, 1), dense([784, 100, 100, 128, 1])),
    (mlp.Discriminator(28, 1, hidden=(512, 256)), dense([784, 512, 256, 1])),
    # batch norm: gain and bias, in place of the linear layer's bias
    (mlp.Discriminator(28, 1, hidden=(1024, 512, 256), norm="batch"), dense([784, 1024, 512, 256, 1]) + 768),
    (upsample_mlp.Generator(28, 1), 100 * 12544 + 9 * (256 * 128 + 128 * 64) + 2 * (256 + 128 + 64) + 577),
    (deconv_mlp.Generator(28, 1), 100 * 12544 + 16 * (256 * 128 + 128 * 64) + 2 * (256 + 128 + 64) + 577),
    (mlp_conv.Discriminator(28, 1), 25 * (32 + 32 * 64 + 64 * 128) + 32 + 64 + 128 + dense([2048, 128, 1])),
], ids=lambda value: type(value).__module__ if isinstance(value, nn.Module) else "")
def test_parameter_count(network, expected):
    assert count(network) == expected


def test_sigmoid_output_is_stretched_to_the_range_of_images():
    torch.manual_seed(0)
    g = mlp.Generator(5, 2).double()
    z = torch.randn(3, 100, dtype=torch.float64)
    h = g.last(g.hidden(z))
    torch.testing.assert_close(g(z).flatten(1), torch.tanh(h / 2))
    g.output = "tanh"
    torch.testing.assert_close(g(z).flatten(1), torch.tanh(h))


def test_unknown_output_is_refused():
    with pytest.raises(ConfigError, match="model.generator.output=sigmoidal: .*did you mean sigmoid"):
        mlp.Generator(28, 1, output="sigmoidal")


def test_dense_critics_refuse_instance_norm():
    with pytest.raises(ConfigError, match="model.d_norm=instance: must be one of none, batch, "):
        mlp.Discriminator(28, 1, norm="instance")


def test_pixels_are_in_the_order_of_an_image():
    """Neighbours in the dense layer's output are neighbours in a row; channels come first."""
    g = mlp.Generator(3, 2, output="tanh")
    nn.init.zeros_(g.last.weight)
    g.last.bias.data = torch.linspace(-1, 1, 18)
    torch.testing.assert_close(g(torch.randn(1, 100)).atanh(), torch.linspace(-1, 1, 18).view(1, 2, 3, 3))


@pytest.mark.parametrize("resolution", [8, 9, 15, 28, 33])
def test_mlp_conv_halves_any_resolution(resolution):
    d = mlp_conv.Discriminator(resolution, 3, norm="none")
    assert d(torch.randn(2, 3, resolution, resolution)).shape == (2, 1)
    assert sum(isinstance(module, nn.Conv2d) and module.kernel_size == (5, 5) for module in d.modules()) == 3


@pytest.mark.parametrize("module", [upsample_mlp, deconv_mlp])
def test_small_generators_start_from_a_quarter(module):
    g = module.Generator(28, 1)
    assert g.project(torch.randn(2, 100)).shape == (2, 256, 7, 7)
