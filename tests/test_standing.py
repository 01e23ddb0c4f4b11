"""Batch-norm statistics of the weights as they are, against sums by hand in float64."""

import pytest
import torch
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks import biggan
from gan_lightning.networks.layers import add_spectral_norm
from gan_lightning.standing import standing_statistics

DOUBLE = torch.float64


class Net(nn.Module):
    """Two batch norms, spectral norm, dropout, and a norm without statistics."""

    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.second, self.norm2 = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)
        self.free, self.dropout = nn.BatchNorm2d(4, track_running_stats=False), nn.Dropout(0.5)
        add_spectral_norm(self)

    def forward(self, x):
        h = self.norm1(self.first(x)).relu()
        return self.dropout(self.free(self.norm2(self.second(h))))


def state(network, *, statistics):
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {name: value.clone() for name, value in network.state_dict().items() if name.endswith(names) == statistics}


@pytest.fixture
def net():
    net = Net().double()
    net(torch.randn(4, 2, 5, 5, dtype=DOUBLE))    # statistics of its own
    return net.eval()


def by_hand(net, batches):
    """(mean, variance) of both layers: the mean over batches of each batch's mean and unbiased variance."""
    def moments(h):
        values = h.transpose(0, 1).flatten(1)
        mean = values.sum(1) / values.shape[1]
        return mean, (values - mean[:, None]).square().sum(1) / (values.shape[1] - 1)

    found = []
    for x in batches:
        h = torch.nn.functional.conv2d(x, net.first.weight, net.first.bias)
        first = moments(h)
        biased = first[1] * (h.numel() / 3 - 1) / (h.numel() / 3)
        h = (h - first[0].view(-1, 1, 1)) / (biased.view(-1, 1, 1) + 1e-5).sqrt()
        h = (net.norm1.weight.view(-1, 1, 1) * h + net.norm1.bias.view(-1, 1, 1)).relu()
        h = torch.nn.functional.conv2d(h, net.second.weight, net.second.bias)
        found.append([*first, *moments(h)])
    return [sum(values) / len(batches) for values in zip(*found, strict=True)]


@pytest.mark.parametrize("training", [False, True])
def test_statistics_are_the_means_over_batches(net, training):
    nn.init.normal_(net.norm1.weight)
    batches = [scale * torch.randn(6, 2, 5, 5, dtype=DOUBLE) + scale for scale in (1, 2, 5)]
    expected = by_hand(net, batches)
    net.train(training)
    net.first.eval()    # a part in another mode than the whole
    before, modes = state(net, statistics=False), {module: module.training for module in net.modules()}
    assert standing_statistics(net, lambda i: net(batches[i]), 3) == 2
    found = [net.norm1.running_mean, net.norm1.running_var, net.norm2.running_mean, net.norm2.running_var]
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    assert {module: module.training for module in net.modules()} == modes
    assert net.norm1.momentum == net.norm2.momentum == 0.1
    after = state(net, statistics=False)    # weights, and vectors of spectral norm
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert any("_u" in name for name in after)


def test_forget_what_was_before_and_repeat(net):
    x = torch.randn(6, 2, 5, 5, dtype=DOUBLE)
    standing_statistics(net, lambda i: net(x), 1)
    first = state(net, statistics=True)
    for layer in (net.norm1, net.norm2):
        layer.running_mean.fill_(7.0)
    standing_statistics(net, lambda i: net(x), 1)
    second = state(net, statistics=True)
    assert all(torch.equal(first[name], value) for name, value in second.items())


def test_one_batch_makes_eval_give_what_training_gives():
    """With the statistics of one large batch, images in eval mode are those of training, up to n / (n - 1)."""
    g = biggan.Generator(8, 1, 3, width=2).double().eval()
    z, cond = torch.randn(64, g.z_dim, dtype=DOUBLE), torch.arange(64) % 3
    stale = g(z, cond)
    standing_statistics(g, lambda i: g(z, cond), 1)
    fresh = g(z, cond)
    for module in g.modules():
        module.training = isinstance(module, nn.BatchNorm2d)
    wanted = g(z, cond)
    torch.testing.assert_close(fresh, wanted, rtol=0, atol=2e-3)
    assert (stale - wanted).abs().max() > 0.02


def test_modes_come_back_when_feeding_fails(net):
    net.train()
    with pytest.raises(ZeroDivisionError):
        standing_statistics(net, lambda i: 1 / 0, 1)
    assert all(module.training for module in net.modules()) and net.norm1.momentum == 0.1


def test_a_network_without_batch_norm_is_not_run():
    assert standing_statistics(nn.Linear(2, 2), lambda i: 1 / 0, 5) == 0


def test_no_batches_are_refused(net):
    before = state(net, statistics=True)
    with pytest.raises(ConfigError, match="standing=0: must be at least 1 batch"):
        standing_statistics(net, net, 0)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
