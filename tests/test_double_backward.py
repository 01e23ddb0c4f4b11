"""Second derivatives against torch's own, and their arithmetic against what it takes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gan_lightning.double_backward import TwiceDifferentiable, input_gradient


class Flops(TorchDispatchMode):
    """Counts multiplications and additions of convolutions and matrix products."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        if function._overloadpacket in flop_registry:
            self.total += flop_registry[function._overloadpacket](*args, **kwargs or {}, out_val=out)
        return out


def critic(activation, norm=False, **kwargs):
    layers = [nn.Conv2d(2, 4, 4, stride=2, padding=1), activation, nn.Conv2d(4, 6, 3, padding="same"), activation]
    layers += [nn.GroupNorm(1, 6)] if norm else []
    layers += [nn.Conv2d(6, 8, (3, 1), padding=(1, 0), dilation=(2, 1), bias=False, groups=2), activation, nn.Flatten(),
               nn.LazyLinear(1)]
    network = nn.Sequential(*layers).double()
    network(torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    return network


class Functional(nn.Module):
    """Activations as functions and methods rather than modules, keywords, one image without a batch inside."""

    def forward(self, x):
        return torch.relu(x) + F.relu(input=-2 * x) + (3 * x).relu() + F.leaky_relu(x - 0.1, negative_slope=0.3)


def gradients(network, x, cheap, squash=False):
    """Of mean (||d D / d x||^2 - 1)^2 + mean D, by all weights."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    if cheap:
        with TwiceDifferentiable():
            logits = network(x)
        gradient = input_gradient(logits, x)
    else:
        logits = network(x)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    ((gradient.square().flatten(1).sum(1) - 1).square().mean() + logits.tanh().mean()).backward()
    return [gradient.detach()] + [weight.grad.clone() for weight in network.parameters()]


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.2), nn.ReLU(), nn.ReLU(inplace=True), nn.Tanh(), Functional()])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_torchs_own(activation, norm, layout):
    network = critic(activation, norm).to(memory_format=layout)
    x = torch.randn(3, 2, 8, 8, dtype=torch.float64).contiguous(memory_format=layout)
    for ours, torchs in zip(gradients(network, x, True), gradients(network, x, False), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-11, atol=1e-13)


def test_third_derivatives_too():
    """Of a smooth critic: a penalty of a penalty reaches the rules of the weights' gradient."""
    network, x = critic(nn.Tanh()), torch.randn(2, 2, 8, 8, dtype=torch.float64)

    def outer(cheap):
        with TwiceDifferentiable() if cheap else torch.autograd.enable_grad():
            loss = network(x.requires_grad_()).square().mean()
        inner = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in inner), [x, *network.parameters()])

    for ours, torchs in zip(outer(True), outer(False), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-10, atol=1e-13)


def test_arithmetic_of_a_penalty():
    """Each layer is passed forwards and, for the gradient, backwards; then that gradient's own derivative passes it
    forwards, except at the end, where it began as a constant, and reaches the weights. torch's rules add two passes
    of zeros, through the activations' second derivatives."""
    network = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
                            nn.Conv2d(8, 8, 3, padding=1))
    x = torch.randn(2, 8, 6, 6)
    with Flops() as layer, torch.no_grad():
        network[0](x)
    with Flops() as penalty:
        x.requires_grad_()
        with TwiceDifferentiable():
            logits = network(x)
        input_gradient(logits, x).square().sum().backward()
    assert penalty.total == (3 + 3 + 2 + 3) * layer.total


def test_weights_have_their_gradient_again_afterwards():
    network, x = critic(nn.LeakyReLU(0.2)), torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    with TwiceDifferentiable():
        logits = network(x)
    with pytest.raises(RuntimeError):
        input_gradient(logits.detach(), x)  # not a function of x
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
