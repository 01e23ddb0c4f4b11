"""Standing statistics of batch normalisation: Brock et al. 2019, arXiv:1809.11096, appendix C."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_lightning.errors import ConfigError
from gan_lightning.modes import evaluating


@torch.no_grad()
def standing_statistics(network: nn.Module, feed: Callable[[int], object], batches: int) -> int:
    """Replaces every running mean and variance by the mean over `batches` forward passes; returns how many layers.

    Running averages of training mix the statistics of many past weights, and in an averaged network belong to no
    weights at all; these belong to the weights as they are. Each layer sees what it would in training: its
    predecessors normalise by the batch. Only these layers leave eval mode meanwhile, so that nothing else moves, such
    as the vectors of spectral normalisation; afterwards every part is in the mode it was in.

    Args:
        feed: runs `network` once, on a batch of its own for each of the numbers 0 to `batches` - 1.

    Raises:
        ConfigError: fewer than one batch.
    """
    if batches < 1:
        raise ConfigError(f"standing={batches}: must be at least 1 batch, or 0 to keep the statistics of training")
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    momenta = [layer.momentum for layer in layers]
    with evaluating(network):
        for layer in layers:
            layer.reset_running_stats()
            layer.training, layer.momentum = True, None    # None: the plain mean of all batches since the reset
        try:
            for number in range(batches) if layers else ():
                feed(number)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
    return len(layers)
