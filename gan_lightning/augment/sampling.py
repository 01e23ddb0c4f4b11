"""Images read between their pixels, with two derivatives: `grid_sample` of older torch has but one."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

aten = torch.ops.aten
BILINEAR, ZEROS, CORNERS = 0, 0, False


def sample(x: Tensor, grid: Tensor) -> Tensor:
    """x (N, C, H, W) at `grid` (N, H', W', 2), bilinearly -> (N, C, H', W').

    Like `grid_sample(align_corners=False)`: (-1, -1) is the upper left corner of the first pixel, zeros lie around the
    image. Differentiable by x as often as one likes; not by the grid.
    """
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        return by_corners(x, grid.detach())
    return _Sample.apply(x, grid.detach())


def by_corners(x: Tensor, grid: Tensor) -> Tensor:
    """The same from the four pixels around each point: slower, but the adjoint's sums have an order on GPUs too."""
    height, width = x.shape[2:]
    column, row = ((place + 1) * (size / 2) - 0.5 for place, size in zip(grid.unbind(-1), (width, height), strict=True))
    left, upper = column.floor(), row.floor()
    result = x.new_zeros(())
    for c, r in ((left + i, upper + j) for i in (0, 1) for j in (0, 1)):
        inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
        weight = (1 - (column - c).abs()) * (1 - (row - r).abs()) * inside  # (N, H', W')
        source = (r.clamp(0, height - 1) * width + c.clamp(0, width - 1)).long().flatten(1)
        pixels = x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1))
        result = result + pixels.unflatten(2, grid.shape[1:3]) * weight[:, None]
    return result


# Sampling is linear in the image, and so is its adjoint. So each is the other's derivative.


class _Sample(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = x.shape[2:]
        return aten.grid_sampler_2d.default(x, grid, BILINEAR, ZEROS, CORNERS)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        (grid,) = ctx.saved_tensors
        return _Adjoint.apply(gradient, grid, ctx.size), None


class _Adjoint(Function):
    """Values (N, C, H', W') at points, spread over the pixels (N, C, *size) that they would have been read from."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        image = values.new_empty(*values.shape[:2], *size)  # for its shape alone
        wanted = [True, False]
        return aten.grid_sampler_2d_backward.default(values, image, grid, BILINEAR, ZEROS, CORNERS, wanted)[0]

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(second, grid), None, None
