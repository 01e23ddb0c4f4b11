"""Data-parallel training of two alternating players."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from math import isfinite
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_lightning.ema import EMA
from gan_lightning.errors import ConfigError
from gan_lightning.launcher import Launcher
from gan_lightning.sync_batch_norm import SyncBatchNorms

EQUAL_EVERYWHERE = ("num_batches_tracked", "weights_mean")
"""Names of buffers that count steps, which all devices take together, or are made of weights, which are the same."""


class GANStrategy(DDPStrategy):
    """Every device plays the same game on its share of the batch, and all hold the same weights after each step.

    DDP's wrapper expects every parameter in every backward pass, and a GAN's passes each reach one player. So there
    is no wrapper:

    - All devices start from rank 0's state.
    - When an optimizer is about to step, the gradients of its weights, and of no others, are averaged: one all-reduce
      per dtype, before unscaling and clipping. Double backward, accumulation and several backward passes need no
      special care, and nothing is sent for a player who does not move.
    - A weight without a gradient on this device counts as zero, as in one process with the joint batch; one without a
      gradient on any device stays without. So sizes agree on all devices whatever their losses are made of.
    - Buffers (batch-norm statistics, power iterations, the strength of an augmentation) are averaged once a round,
      in the all-reduce of the last player's gradients, before anything is copied, saved or sampled. Batch-norm
      statistics are linear in those of the batches, so their average has seen every image, where following rank 0
      would have seen its share alone. Integers follow rank 0; counters of steps, and the buffers of the averaged G,
      which are made from those of G, are equal on all devices by themselves.

    What a loss computes from the whole batch, not from each sample, is the loss's business: `joint_mean`.

    Args:
        timeout_seconds: a device that keeps the others waiting for so long ends the run.
    """

    def __init__(self, timeout_seconds: float = 1800.0):
        if not (isfinite(timeout_seconds) and timeout_seconds > 0):
            raise ConfigError(f"trainer.strategy.timeout_seconds={timeout_seconds}: must be a finite number above 0")
        super().__init__(timeout=timedelta(seconds=timeout_seconds))
        self.timeout_seconds = timeout_seconds
        self._buffers: list[tuple[dict[str, Tensor | None], str]] = []

    def _configure_launcher(self) -> None:
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes, self.timeout_seconds)

    def setup(self, trainer: L.Trainer) -> None:
        if self._layer_sync is not None:
            self._layer_sync = SyncBatchNorms()
        _spare_a_broadcast(trainer)
        super().setup(trainer)

    def configure_ddp(self) -> None:
        self._start_equal()
        self._buffers = _buffers_that_may_differ(self.model)

    def _start_equal(self) -> None:
        _sync_module_states(self.model)

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        def closure_then_average() -> Any:
            result = closure()
            self.average(optimizer)
            return result

        return super().optimizer_step(optimizer, closure_then_average, model, **kwargs)

    @torch.no_grad()
    def average(self, optimizer: Optimizer) -> None:
        """Replaces the gradients of `optimizer` by their mean over all devices; with the last one's, buffers too."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in self._to_average(weights)]
        buffers = [owner[name] for owner, name in self._buffers] if optimizer is self.optimizers[-1] else []
        self._average([*gradients, *(b for b in buffers if b.is_floating_point())])
        for counters in _by_type(b for b in buffers if not b.is_floating_point()):
            flat = _flat(counters)
            dist.broadcast(flat, src=0)
            _scatter(flat, counters)
        for weight, gradient in zip(self._to_average(weights), gradients, strict=True):
            if weight.grad is None and gradient.any():
                weight.grad = gradient

    def _to_average(self, weights: list[nn.Parameter]) -> list[nn.Parameter]:
        return weights

    def _average(self, tensors: list[Tensor]) -> None:
        for same in _by_type(tensors):
            flat = _flat(same)
            dist.all_reduce(flat)
            _scatter(flat.div_(self.world_size), same)


def _buffers_that_may_differ(module: nn.Module) -> list[tuple[dict[str, Tensor | None], str]]:
    """Where they are kept, since a module may put another tensor in a buffer's place."""
    derived = {id(part) for average in module.modules() if isinstance(average, EMA) for part in average.modules()}
    return [(part._buffers, name) for part in module.modules() if id(part) not in derived
            for name, buffer in part._buffers.items() if buffer is not None and name not in EQUAL_EVERYWHERE]


def _by_type(tensors: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[tuple, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return groups.values()


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _scatter(flat: Tensor, tensors: list[Tensor]) -> None:
    pieces = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)])


def _spare_a_broadcast(trainer: L.Trainer) -> None:
    """Lightning asks before each batch whether rank 0 got a SIGTERM: a broadcast, and the device is waited for.
    `StopOnSignal` asks seldom, and not in the step."""
    loop = getattr(trainer.fit_loop, "epoch_loop", None)
    if hasattr(loop, "_broadcast_sigterm_tensor"):
        loop._broadcast_sigterm_tensor = lambda: None


if "gan" not in StrategyRegistry.available_strategies():
    StrategyRegistry.register("gan", GANStrategy, description=GANStrategy.__doc__ or "")
