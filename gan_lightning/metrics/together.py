"""What several processes do together: if it fails on one, it fails on all, with that one's message."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from gan_lightning.errors import UserError

T = TypeVar("T")


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def together(action: Callable[[], T]) -> T:
    """`action()`, which must contain no communication, on every process; raises on all if it raised on any.

    Raises:
        Exception: that of this process, if it failed here.
        UserError: another process's message, if it failed only there.
    """
    rank, world = rank_and_world()
    if world == 1:
        return action()
    result, error = None, None
    try:
        result = action()
    except Exception as caught:  # noqa: BLE001 - whatever it is, the others must learn of it
        error = caught
    messages: list[str | None] = [None] * world
    dist.all_gather_object(messages, f"{type(error).__name__}: {error}" if error is not None else None)
    if error is not None:
        raise error
    for other, message in enumerate(messages):
        if message is not None:
            raise UserError(f"process {other} failed: {message}")
    return result


def on_first(action: Callable[[], T]) -> T:
    """`action()` on the first process; its result, or its error, on all. The result must be picklable."""
    rank, world = rank_and_world()
    if world == 1:
        return action()
    result = together(action if rank == 0 else lambda: None)
    shared = [result]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]
