import pytest
import torch
from torch import nn

from gan_lightning.networks.dcgan import POSSIBLE, Discriminator, Generator


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_of_the_published_networks():
    """The authors' 64 px networks have 3,576,704 and 2,765,568 weights (width 64, RGB, no bias anywhere);
    ours have a bias on each layer that no batch norm follows."""
    assert count(Generator(64, 3)) == 3_576_704 + 3
    assert count(Discriminator(64, 3)) == 2_765_568 + 64 + 1


@pytest.mark.parametrize("resolution, first_maps", [
    (8, (128, 2)), (10, (64, 5)), (12, (128, 3)), (14, (64, 7)), (28, (128, 7)), (32, (256, 4)),
    (48, (256, 6)), (64, (512, 4)), (96, (512, 6)), (112, (512, 7)), (128, (512, 4)),
])
def test_smallest_maps(resolution, first_maps):
    maps, base = first_maps
    assert Generator(resolution, 3).project(torch.randn(2, 100)).shape == (2, maps, base, base)
    d = Discriminator(resolution, 3)
    with torch.no_grad():
        assert d.maps(torch.randn(2, 3, resolution, resolution)).shape == (2, maps, base, base)


def test_possible_resolutions():
    expected = {odd * 2**stages for odd in (1, 3, 5, 7) for stages in range(1, 8)} & set(range(8, 129))
    assert POSSIBLE == sorted(expected)


def test_paper_s_generator_is_the_double_width():
    g = Generator(64, 3, width=128)
    assert [up.in_channels for up in g.ups] == [1024, 512, 256, 128]


@pytest.mark.parametrize("resolution", [8, 32])
def test_logit_is_the_sum_of_linear_and_projection(resolution):
    torch.manual_seed(0)
    d = Discriminator(resolution, 3, num_classes=4, width=4).double().eval()
    x = torch.randn(5, 3, resolution, resolution, dtype=torch.float64)
    label = torch.tensor([3, 0, 1, 1, 2])
    logits, features = d(x, label, return_features=True)
    for item in range(5):
        linear = features[item] @ d.last.weight[0] + d.last.bias[0]
        projection = features[item] @ d.projection.embed.weight[label[item]]
        assert logits[item].item() == pytest.approx((linear + projection).item(), rel=1e-10)


def test_layers_are_the_paper_s():
    g, d = Generator(32, 3), Discriminator(32, 3)
    assert all(up.kernel_size == (4, 4) and up.stride == (2, 2) for up in g.ups)
    assert all(isinstance(norm, nn.BatchNorm2d) for norm in g.norms) and len(g.norms) == 3
    assert [type(layer).__name__ for layer in d.maps] == [
        "Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert all(layer.negative_slope == 0.2 and not layer.inplace for layer in d.maps
               if isinstance(layer, nn.LeakyReLU))
