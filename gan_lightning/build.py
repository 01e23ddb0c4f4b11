"""Config to objects: the one place where the parts are wired together."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import get_class
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lightning.conditioning.base import Conditioned
from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
from gan_lightning.losses.objective import Objective
from gan_lightning.tasks.base import Task

if TYPE_CHECKING:
    import lightning as L

    from gan_lightning.module import GANModule


def instantiate(node: Any, **kwargs: Any) -> Any:
    """The object that a node with `_target_` describes; containers become plain ones, as checkpoints need."""
    return hydra_instantiate(node, _convert_="all", **kwargs)


def build_task(cfg: DictConfig) -> Task:
    """The networks, initialised, and the game they play. Needs neither data nor Lightning."""
    if cfg.model.get("conditional") and not cfg.data.num_classes:
        raise ConfigError("model.conditional=true: this data set has no classes (data.num_classes=0); "
                          "choose model.conditional=false, conditioning=native, or data with labels")
    networks = {name: instantiate(node) for name, node in cfg.model.items() if OmegaConf.is_config(node)}
    head = networks.pop("head", None)
    if head is not None:
        networks["discriminator"] = Conditioned(networks["discriminator"], head)
    for network in networks.values():
        initialise(network, cfg.model.get("init"))
    objective = instantiate(cfg.loss)
    # Of an experiment's augmentation that is switched off (augment=none) its settings may be left.
    augment = instantiate(cfg.augment) if "_target_" in (cfg.get("augment") or {}) else None
    if augment is not None and cfg.data.resolution == 1 and not augment.works_on_points:
        raise ConfigError(f"augment: {type(augment).__name__} changes images, and these data are points; choose "
                          "augment=none, instance_noise or apa")
    if cfg.data.resolution == 1:
        _refuse_images_terms(objective)
    changes = {} if augment is None else {"augment": augment}  # a task of a user's own may not know of it
    task = instantiate(cfg.task, _partial_=True)(**networks, objective=objective, **changes)
    _refuse_batch_norm_under_penalties(task, objective.d_terms)
    if cfg.data.batch_size < 2 and _batch_norms(task):
        raise ConfigError("data.batch_size=1: batch normalisation needs at least 2 images (or choose model.d_norm and "
                          "model.g_norm without it)")
    return task


def build_module(cfg: DictConfig) -> "GANModule":
    """The whole training module. The same seed gives the same weights."""
    from gan_lightning.module import GANModule

    torch.manual_seed(cfg.seed)
    task = build_task(cfg)
    config = OmegaConf.to_container(cfg, resolve=True)
    module = GANModule(task, build_optim(cfg.optim), seed=cfg.seed, config=config)
    if str(cfg.trainer.precision) in ("64-true", "64"):
        module.double()  # Lightning does so only after it has loaded a checkpoint, which then loses half of its digits
    return module.to(memory_format=torch.channels_last) if cfg.channels_last else module


def build_optim(node: DictConfig) -> Any:
    """The optimisation; betas=[0,0.9] on a command line holds an int, and torch wants floats."""
    node = node.copy()
    for player in (node.g, node.d):
        if player.get("betas") is not None:
            player.betas = [float(beta) for beta in player.betas]
    return instantiate(node)


def build_loggers(cfg: DictConfig, run_ids: dict[str, str]) -> list[Any]:
    """Loggers by name; one that continues a run of its own is given that run's id."""
    loggers = []
    for name, node in (cfg.logger or {}).items():
        if node is not None:
            known = {"id": run_ids[name]} if run_ids.get(name) and "id" in node and node.id is None else {}
            loggers.append(instantiate(node, **known))
    return loggers


def build_trainer(cfg: DictConfig, run_dir: Path, max_steps: Callable[[int], int], **kwargs: Any) -> "L.Trainer":
    """A Trainer on the devices that `trainer.*` names, with the strategy that two players need.

    Args:
        max_steps: number of devices -> length of the run in rounds.
        kwargs: its loggers and callbacks.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from gan_lightning.checkpoint_io import AtomicCheckpointIO
    from gan_lightning.launcher import check_processes
    from gan_lightning.mixed_precision import TwoPlayerPrecision
    from gan_lightning.sharded import ShardedStrategy, check_sharding

    settings = OmegaConf.to_container(cfg.trainer, resolve=True)
    if settings.get("benchmark") is None:  # images have one size, so trying cuDNN's algorithms pays
        settings["benchmark"] = not settings.get("deterministic")
    make, strategy = get_class(settings.pop("_target_")), settings.pop("strategy", "auto")
    strategy = _strategy(strategy)
    if settings.get("precision") in ("16-true", "bf16-true"):
        raise ConfigError(f"trainer.precision={settings['precision']}: weights in half precision cannot hold the small "
                          "steps of an average or a penalty; choose bf16-mixed, 16-mixed or 32-true")
    ours = {"default_root_dir": run_dir, "max_epochs": -1, "use_distributed_sampler": False,
            "enable_progress_bar": False, "plugins": [AtomicCheckpointIO()]}
    try:
        # Only Lightning knows what `devices=auto` comes to.
        precision = str(settings.pop("precision", None))
        probe = make(**settings | ours | {"logger": False, "enable_checkpointing": False, "max_steps": 1})
        world_size = probe.num_devices * probe.num_nodes
        if precision in ("16-mixed", "bf16-mixed"):
            ours["plugins"].append(TwoPlayerPrecision(precision, probe.strategy.root_device.type))
        else:
            settings["precision"] = precision
        check_processes(world_size)
        if isinstance(strategy, ShardedStrategy):
            check_sharding(cfg, world_size)
        strategy = strategy if world_size > 1 else "auto"
        return make(**settings | ours | kwargs | {"max_steps": max_steps(world_size), "strategy": strategy})
    except ConfigError:
        raise
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(f"trainer: {str(error).splitlines()[0]}") from error


def _strategy(given: str | dict[str, Any]) -> Any:
    """The strategy for several devices: that of a node with `_target_`, or the one with that name."""
    from gan_lightning.sharded import ShardedStrategy
    from gan_lightning.strategy import GANStrategy

    names = {"auto": GANStrategy, "gan": GANStrategy, "fsdp": ShardedStrategy}
    if isinstance(given, str) and given in names:
        return names[given]()
    strategy = hydra_instantiate(given) if isinstance(given, dict) else None
    if not isinstance(strategy, GANStrategy):
        name = given.get("_target_") if isinstance(given, dict) else given
        raise ConfigError(f"trainer.strategy={name}: two players who take turns need our own strategy (DDP's "
                          "wrapper fails); leave it out, and trainer.devices > 1 chooses trainer.strategy=gan")
    return strategy


def _refuse_images_terms(objective: Objective) -> None:
    for player, terms in (("d", objective.d_terms), ("g", objective.g_terms)):
        for name, term in terms.items():
            if not getattr(term, "works_on_points", True):
                raise ConfigError(f"loss.{player}_terms.{name}: {type(term).__name__} changes images, and these data "
                                  "are points; leave it out of term")


def _batch_norms(network: nn.Module) -> list[str]:
    return [name for name, layer in network.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def _refuse_batch_norm_under_penalties(task: Task, d_terms: dict) -> None:
    penalties = [name for name, term in d_terms.items() if getattr(term, "per_sample", False)]
    batch_norms = _batch_norms(task.d)
    if penalties and batch_norms:
        raise ConfigError(f"loss.d_terms.{penalties[0]} needs a discriminator that scores each sample by itself, and "
                          f"batch normalisation ({batch_norms[0]}) mixes them: set model.d_norm to none, layer, "
                          "instance or spectral")
