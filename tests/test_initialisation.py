import math

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import RULES, initialise
from gan_lightning.networks import dcgan, resnet
from gan_lightning.networks.layers import ConditionalNorm, Projection, add_spectral_norm

# layer, inputs that reach one output, outputs that one input reaches
LAYERS = [
    (lambda: nn.Linear(300, 500), 300, 500),
    (lambda: nn.Conv2d(60, 80, 3), 60 * 9, 80 * 9),
    (lambda: nn.Conv2d(60, 80, 4, stride=2), 60 * 16, 80 * 4),
    (lambda: nn.Conv2d(60, 80, 3, groups=4), 15 * 9, 20 * 9),
    (lambda: nn.ConvTranspose2d(60, 80, 4, stride=2), 60 * 4, 80 * 16),
    (lambda: nn.Conv1d(100, 200, 5), 100 * 5, 200 * 5),
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("make, fan_in, fan_out", LAYERS)
@pytest.mark.parametrize("how", ["normal", "glorot", "he"])
def test_weights_have_the_stated_spread_and_shape(make, fan_in, fan_out, how):
    layer = make()
    initialise(layer, how)
    std = {"normal": 0.02, "glorot": math.sqrt(2 / (fan_in + fan_out)), "he": math.sqrt(2 / fan_in)}[how]
    weight = layer.weight.detach() / std
    assert weight.mean().abs() < 0.03 and weight.std().item() == pytest.approx(1, rel=0.03)
    kurtosis = 1.8 if how == "glorot" else 3.0    # of a uniform and of a normal distribution
    assert weight.pow(4).mean().item() == pytest.approx(kurtosis, rel=0.1)
    assert not layer.bias.any()


@pytest.mark.parametrize("layer", [
    nn.Linear(512, 512), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 4, stride=2, padding=1),
    nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1),
], ids=["linear", "conv", "strided", "transposed"])
def test_he_keeps_the_variance_that_a_relu_halves(layer):
    initialise(layer, "he")
    h = layer(torch.randn((256, 512) if isinstance(layer, nn.Linear) else (8, 64, 24, 24)))
    if h.ndim == 4:
        h = h[:, :, 2:-2, 2:-2]    # borders see padding
    assert h.square().mean().item() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("layer", [nn.Linear(7, 5), nn.Linear(5, 7), nn.Conv2d(3, 8, 3),
                                   nn.ConvTranspose2d(3, 2, 4)])
def test_orthogonal_matrices_are(layer):
    initialise(layer.double(), "orthogonal")
    matrix = layer.weight.detach().flatten(1)
    gram = matrix @ matrix.T if len(matrix) <= len(matrix.T) else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=gram.dtype))


def test_normal_draws_batch_norm_gains_around_one():
    norm = nn.BatchNorm2d(10_000)
    nn.init.ones_(norm.bias)
    initialise(norm, "normal")
    assert norm.weight.mean().item() == pytest.approx(1, abs=1e-3)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not norm.bias.any()


@pytest.mark.parametrize("how", ["glorot", "he", "orthogonal"])
@pytest.mark.parametrize("make", [nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm, lambda n: nn.GroupNorm(1, n)])
def test_other_gains_stay_one(make, how):
    norm = make(8)
    initialise(norm, how)
    assert (norm.weight == 1).all() and not norm.bias.any()


@pytest.mark.parametrize("how", RULES)
def test_conditional_norms_and_marked_modules_keep_their_own(how):
    class Owner(nn.Module):
        skip_init = True

        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 3))

    network = nn.ModuleList([ConditionalNorm("batch", 4, 3), Owner(), nn.Embedding(5, 2), nn.Linear(3, 3)])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialise(network, how)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}
    assert (network[0].gain.weight == 1).all() and not network[0].bias.weight.any()


@pytest.mark.parametrize("how", RULES)
@pytest.mark.parametrize("make", [lambda: nn.Linear(30, 20), lambda: nn.Conv2d(3, 8, 3)])
def test_spectral_norm_follows_the_new_weight(make, how):
    network = nn.Sequential(make())
    add_spectral_norm(network)
    network.eval()
    layer, original = network[0], network[0].parametrizations.weight.original
    before = original.detach().clone()
    initialise(network, how)
    assert not torch.equal(original, before) and not layer.training
    expected = original / torch.linalg.matrix_norm(original.flatten(1), 2)
    assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(layer.weight, expected, rtol=0.05, atol=0)
    assert not layer.bias.any()


def test_a_spectral_weight_has_the_spread_of_its_rule_before_division():
    layer = nn.Sequential(nn.Conv2d(60, 80, 3))
    add_spectral_norm(layer)
    initialise(layer, "normal")
    assert layer[0].parametrizations.weight.original.std().item() == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize("make", [lambda: dcgan.Generator(16, 3, 4, width=4),
                                  lambda: dcgan.Discriminator(16, 3, 4, width=4, norm="spectral"),
                                  lambda: resnet.Generator(32, 3, 4, width=4),
                                  lambda: resnet.Discriminator(32, 3, 4, width=4)])
@pytest.mark.parametrize("how", RULES)
def test_every_layer_of_a_network_is_redrawn_and_again_the_same_from_one_seed(make, how):
    network = make()
    matrices = {name: value.detach().clone() for name, value in network.named_parameters()
                if name.endswith(("weight", "original")) and value.ndim > 1
                and not any(part in name for part in ("gain", "bias", "embed"))}
    torch.manual_seed(1)
    initialise(network, how)
    first = {name: value.clone() for name, value in network.state_dict().items() if name in matrices}
    assert matrices and all(not torch.equal(first[name], matrices[name]) for name in matrices)
    torch.manual_seed(1)
    initialise(network, how)
    assert all(torch.equal(network.state_dict()[name], first[name]) for name in matrices)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("features, classes", [(16, 5), (5, 16)])
def test_a_projection_s_rows_are_orthogonal_in_an_orthogonal_network(features, classes, spectral):
    """As all weights of BigGAN; otherwise they keep Miyato and Koyama's glorot values."""
    network = nn.Sequential(Projection(features, classes).double())
    if spectral:
        add_spectral_norm(network)
    embed = network[0].embed
    matrix = embed.parametrizations.weight.original if spectral else embed.weight
    before = matrix.detach().clone()
    for how in ("normal", "glorot", "he"):
        initialise(network, how)
        assert torch.equal(matrix, before)
    initialise(network, "orthogonal")
    gram = matrix @ matrix.T if classes <= features else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=gram.dtype))
    if spectral:    # its singular vectors have followed
        torch.testing.assert_close(embed.weight, matrix, rtol=1e-6, atol=0)


def test_none_leaves_the_network_alone():
    layer = nn.Linear(3, 3)
    before = layer.weight.clone()
    initialise(layer, None)
    assert torch.equal(layer.weight, before) and layer.bias.any()


def test_unknown_names_are_refused_with_a_guess():
    with pytest.raises(ConfigError, match="model.init=glorott: must be one of normal, .*did you mean glorot"):
        initialise(nn.Linear(3, 3), "glorott")
