"""Data-parallel training of two alternating players."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.optim import Optimizer


class GANStrategy(DDPStrategy):
    """Every device plays the same game on its share of the batch; gradients are averaged before each step.

    DDP's wrapper expects every parameter in every backward pass, and a GAN's passes each reach one player. So
    there is no wrapper: all devices start from rank 0's state, and when an optimizer is about to step, the
    gradients of that optimizer alone are averaged, in one all-reduce per dtype. Double backward, accumulation
    and several backward passes need no special care. Buffers (batch-norm statistics) follow rank 0 at each step.
    """

    def configure_ddp(self) -> None:
        _sync_module_states(self.model)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        for buffers in _by_type(self.model.buffers()):
            flat = _flatten_dense_tensors(buffers)
            dist.broadcast(flat, src=0)
            _scatter(flat, buffers)
        return super().training_step(*args, **kwargs)

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        def closure_then_average() -> Any:  # before unscaling and clipping, which must see the averaged gradient
            result = closure()
            self.average_gradients(optimizer)
            return result

        return super().optimizer_step(optimizer, closure_then_average, model, **kwargs)

    @torch.no_grad()
    def average_gradients(self, optimizer: Optimizer) -> None:
        """Replaces the gradients of `optimizer` by their mean over all devices."""
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        for gradients in _by_type(p.grad for p in parameters if p.grad is not None):
            flat = _flatten_dense_tensors(gradients)
            dist.all_reduce(flat)
            _scatter(flat.div_(self.world_size), gradients)


def _by_type(tensors: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[tuple, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return groups.values()


@torch.no_grad()
def _scatter(flat: Tensor, tensors: list[Tensor]) -> None:
    torch._foreach_copy_(tensors, list(_unflatten_dense_tensors(flat, tensors)))


if "gan" not in StrategyRegistry.available_strategies():
    StrategyRegistry.register("gan", GANStrategy, description=GANStrategy.__doc__ or "")
