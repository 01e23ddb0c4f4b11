"""The layer against loops over groups, places and maps."""

import pytest
import torch

from gan_lightning.networks.minibatch_stddev import MinibatchStddev


def brute_force(x, size, num_channels):
    n, c, h, w = x.shape
    groups, section = n // size, c // num_channels
    out = x.new_zeros(n, num_channels)
    for i in range(n):
        members = [j for j in range(n) if j % groups == i % groups]
        assert len(members) == size
        for f in range(num_channels):
            values = []
            for k in range(f * section, (f + 1) * section):
                for place in range(h * w):
                    v = [x[j, k].flatten()[place].item() for j in members]
                    mean = sum(v) / size
                    values.append((sum((a - mean) ** 2 for a in v) / size + 1e-8) ** 0.5)
            out[i, f] = sum(values) / len(values)
    return out


@pytest.mark.parametrize("n, group_size, size", [(8, 4, 4), (6, 4, 3), (7, 4, 1), (2, 4, 2), (4, 3, 2), (1, 4, 1)])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_against_loops(n, group_size, size, num_channels):
    x = torch.randn(n, 4, 2, 3, dtype=torch.float64)
    y = MinibatchStddev(group_size, num_channels)(x)
    assert torch.equal(y[:, :4], x) and y.shape == (n, 4 + num_channels, 2, 3)
    expected = brute_force(x, size, num_channels)[..., None, None].expand(n, num_channels, 2, 3)
    torch.testing.assert_close(y[:, 4:], expected)


def test_twice_differentiable_and_finite_where_samples_are_alike():
    layer = MinibatchStddev(2)
    x = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, x)
    alike = torch.ones(4, 2, 2, 2, requires_grad=True)
    gradient, = torch.autograd.grad(layer(alike).square().sum(), alike, create_graph=True)
    gradient.square().sum().backward()
    assert alike.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    x = (300 * torch.randn(4, 2, 3, 3)).half()
    y = MinibatchStddev()(x)
    expected = brute_force(x.double(), 4, 1)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y[:, 2, 0, 0].double(), expected[:, 0], rtol=1e-3, atol=0)
