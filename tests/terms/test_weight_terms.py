"""Terms that look at weights, against means and singular values from elsewhere."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.historical_averaging import HistoricalAveraging
from gan_lightning.terms.spectral_regularisation import SpectralRegularisation


def made_step(network):
    x = torch.zeros(2, 1)
    return Step(None, network, x, x, None, x, None, Clock(0, 0), {})


def bound(term, d, g, whose="d"):
    terms = {"it": term}
    objective = SimpleNamespace(d_terms=terms if whose == "d" else {}, g_terms=terms if whose == "g" else {})
    term.bind(SimpleNamespace(d=d, g=g, objective=objective))
    return term


def network():
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(5, 4), nn.BatchNorm1d(4)).double()


@pytest.mark.parametrize("whose", ["d", "g"])
def test_distance_to_the_mean_of_the_past(whose):
    d, g = network(), nn.Linear(3, 3).double()
    own = d if whose == "d" else g
    term, past = bound(HistoricalAveraging(), d, g, whose), []
    for _ in range(5):
        now = nn.utils.parameters_to_vector(own.parameters()).detach()
        past.append(now)
        mean = torch.stack(past).mean(0)
        own.zero_grad()
        value = term(made_step(own))
        value.backward()
        assert value.item() == pytest.approx((now - mean).square().sum().item(), rel=1e-10, abs=1e-20)
        gradient = torch.cat([weight.grad.flatten() for weight in own.parameters()])
        assert torch.allclose(gradient, 2 * (now - mean))
        nn.utils.vector_to_parameters(now + torch.randn_like(now), own.parameters())
    assert value > 1


def test_historical_averaging_of_several_batches_in_a_step():
    """The mean moves in place between the first batch and its backward pass."""
    layer = nn.Linear(3, 3).double()
    term = bound(HistoricalAveraging(), layer, None)
    term(made_step(layer))
    start = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1)
    first = term(made_step(layer))
    term(made_step(layer))
    first.backward()
    assert torch.allclose(layer.weight.grad, 2 * (start + 1 - (start + 0.5)))


def test_history_travels_in_checkpoints():
    layer = nn.Linear(3, 3)
    term, other = bound(HistoricalAveraging(), layer, None), bound(HistoricalAveraging(), layer, None)
    term(made_step(layer))
    with torch.no_grad():
        layer.weight.add_(1)
    other.load_state_dict(term.state_dict())
    assert other(made_step(layer)).item() == term(made_step(layer)).item() > 0


@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 4), lambda: nn.Linear(4, 1), lambda: nn.Conv2d(3, 4, 3),
                                  lambda: nn.ConvTranspose2d(8, 2, 3)])
def test_half_the_squared_spectral_norm_and_its_gradient(make):
    layer = make().double()
    term = bound(SpectralRegularisation(), layer, None)
    for _ in range(200):
        value = term(made_step(layer))
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    matrix = weight.detach().flatten(1)
    u, s, v = torch.linalg.svd(matrix)
    assert value.item() == pytest.approx(s[0].item() ** 2 / 2, rel=1e-9)
    value.backward()
    gradient = layer.weight.grad.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight.grad
    assert torch.allclose(gradient.flatten(1), s[0] * torch.outer(u[:, 0], v[0]), atol=1e-6)


def test_sum_over_layers_which_descent_makes_small():
    net = network()
    term, optimizer = bound(SpectralRegularisation(), net, None), torch.optim.SGD(net.parameters(), 0.1)

    def norms():
        return [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) for layer in (net[0], net[2])]

    before = norms()
    assert term(made_step(net)).item() == pytest.approx(sum(n**2 for n in before).item() / 2, rel=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        term(made_step(net)).backward()
        optimizer.step()
    assert all(now < 0.6 * then for now, then in zip(norms(), before, strict=True))


def test_singular_vectors_travel_in_checkpoints():
    layer = nn.Linear(20, 20)
    term, other = bound(SpectralRegularisation(), layer, None), bound(SpectralRegularisation(), layer, None)
    assert other(made_step(layer)).item() != term(made_step(layer)).item()
    other.load_state_dict(term.state_dict())
    assert other(made_step(layer)).item() == term(made_step(layer)).item()


def test_a_network_without_matrices_is_refused():
    with pytest.raises(ConfigError, match="spectral_regularisation: this network has no linear"):
        bound(SpectralRegularisation(), nn.BatchNorm1d(3), None)
