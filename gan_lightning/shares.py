"""Weights that may be shared out over devices (`gan_lightning.sharded`): what everybody else needs to know of that."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def is_share(value: Any) -> bool:
    """Whether `value` is a tensor of which this device holds a share."""
    return hasattr(value, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """This device's share of `tensor`, as a view; all of it where nothing is shared out."""
    return tensor.to_local() if is_share(tensor) else tensor


def gradient_norm(weights: list[nn.Parameter]) -> Tensor:
    """The norm of all their gradients together, a float32 scalar. All devices must call it."""
    norms = torch._foreach_norm([local(weight.grad) for weight in weights if weight.grad is not None])
    norm = torch.stack(norms).float().norm()
    if any(is_share(weight) for weight in weights):
        square = norm.square()
        torch.distributed.all_reduce(square)
        norm = square.sqrt()
    return norm


@contextmanager
def whole(network: nn.Module) -> Iterator[nn.Module]:
    """`network` with all its weights on every device, for each to use as it likes. All devices must call it."""
    parts = [part for part in network.modules() if hasattr(part, "unshard")]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield network
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()
