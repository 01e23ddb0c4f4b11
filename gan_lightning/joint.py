"""Sums and means over the joint batch of all devices, through which gradients flow."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gan_lightning.metrics.together import rank_and_world


class _Sum(torch.autograd.Function):
    """Each device's sum reaches every device's loss, so the gradients of all these losses add up as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def joint_sum(x: Tensor) -> Tensor:
    """`x` summed over all devices. All of them must call it, and run backward through it, at the same place."""
    return x if rank_and_world()[1] == 1 else _Sum.apply(x)


def joint_mean(x: Tensor) -> Tensor:
    """`x` averaged over all devices: what a loss needs that compares samples with the mean of their batch.

    A mean of the samples' own losses does not need it, as gradients are averaged later. All devices must call it, and
    run backward through it, at the same place.
    """
    world = rank_and_world()[1]
    return x if world == 1 else joint_sum(x) / world


def joint_cat(x: Tensor) -> Tensor:
    """The rows of all devices, (world N, *), in order of their ranks: what a loss needs that compares samples with each
    other. Each device has as many rows; all must call it, and run backward through it, at the same place."""
    rank, world = rank_and_world()
    if world == 1:
        return x
    rows = x.new_zeros(world, *x.shape)
    return joint_sum(rows.index_copy(0, torch.tensor([rank], device=x.device), x[None])).flatten(0, 1)
