"""Orthogonal regularisation against the papers' formulas in float64, and where descent on it leads."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gan_lightning.networks.layers import add_spectral_norm
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.orthogonal import Orthogonal, layer_weights
from gan_lightning.terms.spectral_regularisation import SpectralRegularisation

LAYERS = [lambda: nn.Linear(6, 4), lambda: nn.Linear(3, 17), lambda: nn.Linear(16, 17), lambda: nn.Linear(5, 5),
          lambda: nn.Conv2d(2, 30, 3), lambda: nn.Conv2d(4, 3, 3), lambda: nn.ConvTranspose2d(2, 24, 3)]


def loss_of(network: nn.Module, diagonal: bool = False) -> Tensor:
    x = torch.zeros(2, 1)
    return Orthogonal(diagonal=diagonal)(Step(None, network, x, x, None, x, None, Clock(0, 0), {}))


def by_hand(weight: Tensor, diagonal: bool) -> float:
    """Brock et al. 2017, sec. 3.4, and 2019, eq. 3, pair by pair of rows, in float64."""
    rows, total = weight.detach().double().flatten(1), 0.0
    for i in range(len(rows)):
        for j in range(len(rows)):
            if i != j or diagonal:
                total += ((rows[i] @ rows[j]).item() - (i == j)) ** 2
    return total


def rows_of(layer: nn.Module, weight: Tensor) -> Tensor:
    return weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("make", LAYERS)
def test_it_is_of_the_weights_that_are_learnt(make, spectral, diagonal):
    """Spectral normalisation's W / sigma is another matrix, and of another loss."""
    network = nn.Sequential(make()).double()
    with torch.no_grad():
        weight = rows_of(network[0], network[0].weight.mul_(3).clone())    # no sigma is 1 by chance
    if spectral:
        add_spectral_norm(network)
    assert loss_of(network, diagonal).item() == pytest.approx(by_hand(weight, diagonal), rel=1e-12)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("shape", [(300, 20), (40, 39), (40, 40), (39, 40)])
@pytest.mark.parametrize("start", ["orthogonal", "normal"])
def test_float32_is_as_exact_as_the_matrix_of_all_rows(start, shape, diagonal):
    """The smaller matrix leaves the rows' lengths to be subtracted: value and gradient keep their digits."""
    layer = nn.Linear(shape[1], shape[0], bias=False)
    {"orthogonal": nn.init.orthogonal_, "normal": nn.init.normal_}[start](layer.weight)
    loss = loss_of(layer, diagonal)
    loss.backward()
    exact = layer.weight.detach().double().requires_grad_()
    off = 1 - torch.eye(len(exact), dtype=torch.float64)
    gram = exact @ exact.T
    expected = ((gram - torch.eye(len(exact))) if diagonal else gram * off).square().sum()
    expected.backward()
    size = exact.detach().norm().item() ** 2    # at least as large as the entries of either matrix, summed along it
    assert loss.item() == pytest.approx(expected.item(), rel=3e-5, abs=1e-6 * size)
    error = (layer.weight.grad - exact.grad).norm()
    assert error <= 1e-5 * exact.grad.norm() + 1e-6 * size ** 0.5


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize("diagonal", [False, True])
def test_no_matrix_is_larger_than_the_weight_or_its_smaller_gram(diagonal):
    """BigGAN's first layer has 24,576 rows, and 20 columns."""
    layer = nn.Linear(20, 24_576)
    with Largest() as largest:
        loss_of(layer, diagonal).backward()
    assert largest.elements == layer.weight.numel()


def stable_rank(weight: Tensor) -> float:
    values = torch.linalg.svdvals(weight.detach().flatten(1))
    return (values.square().sum() / values[0] ** 2).item()


def test_descent_makes_rows_orthogonal_and_not_one_direction_long():
    """Of W / sigma the loss falls fastest by a larger sigma: the layer would end as a map of few directions."""
    network = nn.Sequential(nn.Conv2d(16, 32, 3))
    nn.init.orthogonal_(network[0].weight)
    with torch.no_grad():
        network[0].weight.add_(0.02 * torch.randn_like(network[0].weight))
    add_spectral_norm(network)
    weight = network[0].parametrizations.weight.original
    before, rank = by_hand(weight, False), stable_rank(weight)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        network(torch.zeros(1, 16, 3, 3))    # a power iteration, as a step of training makes
        loss_of(network).backward()
        optimizer.step()
    assert by_hand(weight, False) < 0.02 * before
    assert stable_rank(weight) > 0.75 * rank


def test_spectral_regularisation_shares_them():
    """The largest singular value of W / sigma is 1, whatever W: a constant."""
    network = nn.Sequential(nn.Linear(6, 4)).double()
    weight = network[0].weight.detach().clone()
    add_spectral_norm(network)
    assert torch.equal(layer_weights(network)[0], weight)
    term, x = SpectralRegularisation(), torch.zeros(2, 1)
    for name, matrix in zip(["u0"], layer_weights(network), strict=True):
        term.vectors = [name]
        term.register_buffer(name, torch.ones_like(matrix[:, 0]))
    for _ in range(200):
        value = term(Step(None, network, x, x, None, x, None, Clock(0, 0), {}))
    assert value.item() == pytest.approx(torch.linalg.matrix_norm(weight, 2).item() ** 2 / 2, rel=1e-9)
