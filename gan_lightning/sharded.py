"""One network too large for each device: weights, gradients and optimizer state shared out over all of them."""

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_lightning.errors import ConfigError
from gan_lightning.shares import is_share
from gan_lightning.strategy import GANStrategy


class ShardedStrategy(GANStrategy):
    """Every device holds a share of each weight, of its gradient and of its moments (FSDP2; Zhao et al. 2023).

    The weights of a block are gathered where it computes and given up again, in both passes; its gradients are averaged
    and dealt out as soon as they are there. The average of G is shared out as well. All else is as in `GANStrategy`,
    from which this derives rather than from Lightning's ModelParallelStrategy: that one writes and reads checkpoints in
    its own way, numbers optimizer state by position in the model, and leaves a dying process to the others.

    A checkpoint holds whole weights under the usual names, in one file, written by the first device: it can be sampled
    from, and gone on from with any strategy and number of devices. Every device builds the whole model on the CPU
    before it shares it out, so that much memory the machine must have.

    Args:
        block: a part of a Sequential or ModuleList with at least so many weights is gathered by itself.
    """

    def __init__(self, timeout_seconds: float = 1800.0, block: int = 1_000_000):
        if block < 1:
            raise ConfigError(f"trainer.strategy.block={block}: must be at least 1")
        super().__init__(timeout_seconds)
        self.block = block

    def model_to_device(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh

        module = self.lightning_module
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        for network in (module.task.g, module.task.d, *([] if module.ema is None else [module.ema.network])):
            _share_out(network, mesh, self.block)
        for player, weights in module.weights.items():  # other objects now
            weights[:] = [weight for weight in getattr(module.task, player).parameters() if weight.requires_grad]
        super().model_to_device()  # what is left, which is buffers

    def _start_equal(self) -> None:
        """Weights are equal because the same seed, or the same checkpoint, made them on every device."""

    def _to_average(self, weights: list[nn.Parameter]) -> list[nn.Parameter]:
        return [weight for weight in weights if not is_share(weight)]

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._whole(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return self._whole(super().optimizer_state(optimizer))

    def _whole(self, tree: Any) -> Any:
        """`tree` with whole tensors in place of shares, on the CPU of the first device; of the others it is no use."""
        if isinstance(tree, Mapping):
            return type(tree)((key, self._whole(value)) for key, value in tree.items())
        if isinstance(tree, list):
            return [self._whole(value) for value in tree]
        if not is_share(tree):
            return tree
        whole = tree.full_tensor()
        return whole.cpu() if self.is_global_zero else None

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        own = self.lightning_module.state_dict()
        if not any(is_share(value) for value in own.values()):  # not shared out yet
            return super().load_model_state_dict(checkpoint, strict)
        for name, value in own.items():
            value.copy_(_share_of(checkpoint["state_dict"][name], value))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            shares = {i: {name: _share_of(value, weights[i]) for name, value in values.items()}
                      for i, values in state["state"].items()}
            optimizer.load_state_dict(state | {"state": shares})


def check_sharding(cfg: DictConfig, world_size: int) -> None:
    """Raises ConfigError for what does not work on shared out weights."""
    here = "trainer.strategy=fsdp"
    if world_size < 2:
        raise ConfigError(f"{here}: shares weights out over devices, so trainer.devices must be at least 2")
    if cfg.compile:
        raise ConfigError(f"{here}: compile=true has not been made to work with it; choose compile=false")
    if str(cfg.trainer.precision).startswith("16"):
        raise ConfigError(f"{here}: the loss scale of float16 would differ between devices; choose "
                          "trainer.precision=bf16-mixed")
    if cfg.task.get("latent_step"):
        raise ConfigError(f"{here}: task.latent_step differentiates twice; leave term=[latent_step] out")
    for player in ("d", "g"):
        for name, term in (cfg.loss.get(f"{player}_terms") or {}).items():
            if term is not None and not getattr(get_class(term["_target_"]), "allows_sharding", True):
                raise ConfigError(f"{here}: loss.{player}_terms.{name} differentiates twice, or reads weights that are "
                                  f"elsewhere; choose another loss, loss.{player}_terms.{name}=null, or more memory")


def _share_out(network: nn.Module, mesh: Any, block: int) -> None:
    from torch.distributed.fsdp import fully_shard

    for weight in network.parameters():
        weight.data = weight.data.contiguous()  # it takes no other memory format
    for part in [*_blocks(network, block), network]:
        # The outermost too: kept whole between passes, it would not notice that a player is frozen.
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    # Writing into such a view would lose a hook; nobody writes into what a network returns.
    warnings.filterwarnings("ignore", rf".*\({re.escape(type(network).__name__)}\) returned a view tensor")


def _blocks(network: nn.Module, block: int) -> Iterator[nn.Module]:
    for child in network.children():
        listed = isinstance(network, nn.Sequential | nn.ModuleList) and not isinstance(child, nn.ModuleList)
        if listed and sum(weight.numel() for weight in child.parameters()) >= block:
            yield child
        else:
            yield from _blocks(child, block)


def _share_of(value: Any, like: Tensor) -> Any:
    """What belongs on this device of a tensor that is whole, if it has the shape of `like`."""
    if not is_share(like) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(like.device, like.dtype)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
