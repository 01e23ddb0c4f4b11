import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import (
    ConditionalNorm,
    LabelConcat,
    Projection,
    add_spectral_norm,
    check_choice,
    check_resolution,
    dense_stack,
    generator_norm,
    norm_1d,
    norm_2d,
    normalise,
)

LABELS = torch.tensor([0, 2, 1, 2, 0])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def maps():
    return 3 * torch.randn(5, 4, 6, 6, dtype=torch.float64) + 1


def trained(norm):
    """A conditional norm in float64 whose classes have gains and biases of their own."""
    layer = ConditionalNorm(norm, 4, 3).double()
    nn.init.normal_(layer.gain.weight)
    nn.init.normal_(layer.bias.weight)
    return layer


def axes(norm):
    return {"batch": (0, 2, 3), "instance": (2, 3), "layer": (1, 2, 3)}[norm]


@pytest.mark.parametrize("norm", ["batch", "instance", "layer"])
def test_conditional_norm_is_the_formula(norm, maps):
    layer = trained(norm)
    mean = maps.mean(axes(norm), keepdim=True)
    variance = (maps - mean).square().mean(axes(norm), keepdim=True)
    standard = (maps - mean) / (variance + 1e-5).sqrt()
    got = layer(maps, LABELS)
    for item, label in enumerate(LABELS.tolist()):
        gain, bias = layer.gain.weight[label], layer.bias.weight[label]
        torch.testing.assert_close(got[item], gain[:, None, None] * standard[item] + bias[:, None, None])


def test_each_class_of_conditional_batch_norm_is_a_plain_one(maps):
    layer = trained("batch")
    for label in range(3):
        plain = nn.BatchNorm2d(4).double()
        plain.weight.data.copy_(layer.gain.weight[label])
        plain.bias.data.copy_(layer.bias.weight[label])
        torch.testing.assert_close(layer(maps, torch.full((5,), label)), plain(maps))


def test_conditional_batch_norm_evaluates_with_running_statistics(maps):
    layer = trained("batch")
    layer(maps, LABELS)
    layer.eval()
    mean, variance = 0.1 * maps.mean((0, 2, 3)), 0.9 + 0.1 * maps.transpose(0, 1).flatten(1).var(1)
    standard = (maps - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    gain, bias = (table.weight[LABELS][..., None, None] for table in (layer.gain, layer.bias))
    torch.testing.assert_close(layer(maps, LABELS), gain * standard + bias)


def test_conditional_norm_starts_as_the_identity_of_every_class(maps):
    layer = ConditionalNorm("batch", 4, 3).double()
    assert {name for name, _ in layer.named_parameters()} == {"gain.weight", "bias.weight"}
    assert layer.skip_init
    torch.testing.assert_close(layer(maps, LABELS), nn.BatchNorm2d(4, affine=False).double()(maps))


def test_normalise_calls_each_kind_as_it_wants(maps):
    plain, conditional = generator_norm("batch", 4, 0).double(), generator_norm("batch", 4, 3).double()
    assert isinstance(plain, nn.BatchNorm2d) and isinstance(conditional, ConditionalNorm)
    torch.testing.assert_close(normalise(plain, maps, None), normalise(conditional, maps, LABELS))


def test_projection_is_the_inner_product():
    layer = Projection(7, 3).double()
    features = torch.randn(5, 7, dtype=torch.float64)
    expected = torch.stack([layer.embed.weight[label] @ x for label, x in zip(LABELS, features, strict=True)])
    torch.testing.assert_close(layer(features, LABELS), expected[:, None])
    assert layer.embed.weight.abs().max() <= (6 / (7 + 3)) ** 0.5


def test_label_concat_appends_the_label_s_row():
    layer, x = LabelConcat(4, 3, 2), torch.randn(5, 4)
    got = layer(x, LABELS)
    assert layer.out_features == 6 and torch.equal(got[:, :4], x)
    assert torch.equal(got[:, 4:], layer.embed.weight[LABELS])
    assert LabelConcat(4, 0, 2).out_features == 4 and LabelConcat(4, 0, 2)(x, None) is x


def test_norms_by_name(maps):
    standard = (maps - maps.mean((1, 2, 3), keepdim=True)) / maps.std((1, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(norm_2d("layer", 4).double()(maps), standard, atol=1e-4, rtol=1e-4)
    assert isinstance(norm_2d("instance", 4), nn.InstanceNorm2d) and norm_2d("instance", 4).weight is not None
    assert isinstance(norm_1d("layer", 4), nn.LayerNorm) and isinstance(norm_1d("batch", 4), nn.BatchNorm1d)
    for norm in ("none", "spectral"):
        assert isinstance(norm_2d(norm, 4), nn.Identity) and isinstance(norm_1d(norm, 4), nn.Identity)


def test_dense_stack_normalises_from_the_second_layer_on():
    stack = dense_stack([5, 4, 3, 2], nn.ReLU, "batch")
    assert [type(module).__name__ for module in stack] == [
        "Linear", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU"]
    assert [module.bias is None for module in stack if isinstance(module, nn.Linear)] == [False, True, True]
    assert not any(isinstance(module, nn.BatchNorm1d) for module in dense_stack([5, 4, 3], nn.ReLU))


def test_spectral_norm_divides_by_the_largest_singular_value():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 1)).double()
    weights = [network[0].weight.detach().clone(), network[2].weight.detach().clone()]
    add_spectral_norm(network)
    for _ in range(100):
        network(torch.randn(2, 3, 4, 4, dtype=torch.float64))
    for layer, weight in zip((network[0], network[2]), weights, strict=True):
        expected = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
        torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-5, atol=1e-6)


def test_choices_guess_what_was_meant():
    check_choice("model.d_norm", "batch", ["batch", "none"])
    with pytest.raises(ConfigError) as error:
        check_choice("model.d_norm", "bach", ["batch", "none"])
    assert str(error.value) == "model.d_norm=bach: must be one of batch, none; did you mean batch?"
    with pytest.raises(ConfigError) as error:
        check_choice("model.d_norm", None, ["batch", "none"])
    assert "did you mean" not in str(error.value).replace("did you mean none?", "")


def test_resolutions_are_refused_in_one_line():
    check_resolution(28, True, "it makes 28 px")
    with pytest.raises(ConfigError) as error:
        check_resolution(30, False, "it makes 28 px")
    assert str(error.value) == "data.resolution=30: it makes 28 px; choose one of these or another model"
    with pytest.raises(ConfigError, match="points need model=toy2d"):
        check_resolution(1, True, "it makes any")
