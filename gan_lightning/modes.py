"""A network that samples are taken from for a while, and is then as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """`network` in eval mode, every part of it afterwards in the mode it was in.

    Uncompiled: batches of another size, or the other mode, would each be compiled anew.
    """
    modes = {module: module.training for module in network.modules()}
    compiled, network._compiled_call_impl = network._compiled_call_impl, None
    network.eval()
    try:
        yield
    finally:
        network._compiled_call_impl = compiled
        for module, training in modes.items():
            module.training = training
