"""Gradients of gradients, for the price that arithmetic asks.

A penalty on a critic's gradient is differentiated twice. torch's own rules for that are right, and wasteful: the second
derivative of ReLU is zero almost everywhere, yet those zeros are sent back through every layer; and the weights' part
of a convolution's second derivative runs as a convolution with kernels as large as images. The rules here give the
same numbers in two thirds of the arithmetic. (Published code for StyleGAN2-ADA mends its convolutions likewise:
Karras et al. 2020, arXiv:2006.06676.)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten
How = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups

_weights_wanted = True


def input_gradient(logits: Tensor, x: Tensor) -> Tensor:
    """d sum(logits) / d x, like x, differentiable; nothing is computed for the weights yet."""
    with _no_weight_gradients():
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient


class TwiceDifferentiable(TorchFunctionMode):
    """Calls of conv2d, relu and leaky_relu made within have the rules of this file; all others stay torch's own."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _RULES.get(function, function)(*args, **kwargs or {})


@contextmanager
def _no_weight_gradients() -> Iterator[None]:
    # A Function is not told which of its inputs this backward pass wants, and weights always require gradients. Not
    # a variable of the thread: on a GPU the backward pass has a thread of its own.
    global _weights_wanted
    before, _weights_wanted = _weights_wanted, False
    try:
        yield
    finally:
        _weights_wanted = before


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, how: How) -> Tensor:
    stride, padding, dilation, groups = how
    return aten.convolution.default(x, weight, bias, stride, padding, dilation, False, [0, 0], groups)


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, how: How, wanted: list[bool]) -> tuple:
    stride, padding, dilation, groups = how
    return aten.convolution_backward.default(gradient, x, weight, None, stride, padding, dilation, False, [0, 0],
                                             groups, wanted)


# A convolution is linear in x and in the weights, and so are both of its gradients, each in its two arguments. So the
# derivative of each of the three functions below is made of the other two. An argument that is there for its shape
# alone is detached: else zeros would flow on from it.


class _Convolution(Function):
    """x (N, I, h, w), weight (O, I/groups, kh, kw) -> (N, O, h', w')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: How) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return _convolution(x, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        return (_ForInput.apply(gradient, weight, x.detach(), ctx.how) if for_x else None,
                _ForWeight.apply(gradient, x, weight.detach(), ctx.how) if for_weight and _weights_wanted else None,
                gradient.sum((0, 2, 3)) if for_bias and _weights_wanted else None, None)


class _ForInput(Function):
    """The convolution's gradient by x, which is linear in the incoming gradient and in the weights."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, x: Tensor, how: How) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.how = how
        return _backward(gradient, x, weight, how, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple:
        gradient, weight = ctx.saved_tensors
        for_gradient, for_weight, *_ = ctx.needs_input_grad
        return (_Convolution.apply(second, weight, None, ctx.how) if for_gradient else None,
                _ForWeight.apply(gradient, second, weight.detach(), ctx.how)
                if for_weight and _weights_wanted else None, None, None)


class _ForWeight(Function):
    """The convolution's gradient by the weights, which is linear in the incoming gradient and in x."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, how: How) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.how = how
        return _backward(gradient, x, weight, how, [False, True, False])[1]

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple:
        gradient, x = ctx.saved_tensors
        for_gradient, for_x, *_ = ctx.needs_input_grad
        return (_Convolution.apply(x, second, None, ctx.how) if for_gradient else None,
                _ForInput.apply(gradient, second, x.detach(), ctx.how) if for_x else None, None, None)


class _Rectifier(Function):
    """Leaky ReLU of slope `slope`, or ReLU with slope 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = aten.leaky_relu.default(x, slope) if slope else aten.relu.default(x)
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        (y,) = ctx.saved_tensors
        return _Masked.apply(gradient, y.detach(), ctx.slope), None


class _Masked(Function):
    """`gradient` where y > 0, and `slope` times it elsewhere: linear in it, and constant in y almost everywhere."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        if not slope:
            return aten.threshold_backward.default(gradient, y, 0.0)
        return aten.leaky_relu_backward.default(gradient, y, slope, True)

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple:
        (y,) = ctx.saved_tensors
        return _Masked.apply(second, y, ctx.slope), None, None


def _conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
            dilation: Any = 1, groups: int = 1) -> Tensor:
    if isinstance(padding, str) or input.ndim != 4:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _Convolution.apply(input, weight, bias, (_pair(stride), _pair(padding), _pair(dilation), groups))


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    return F.relu(input, inplace=True) if inplace else _Rectifier.apply(input, 0.0)


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if inplace or negative_slope <= 0:
        return F.leaky_relu(input, negative_slope, inplace)
    return _Rectifier.apply(input, negative_slope)


def _pair(number: Any) -> list[int]:
    return [number, number] if isinstance(number, int) else list(number)


_RULES = {F.conv2d: _conv2d, F.relu: _relu, torch.relu: _relu, Tensor.relu: _relu, F.leaky_relu: _leaky_relu}
