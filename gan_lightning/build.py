"""Config to objects: the one place where the parts are wired together."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gan_lightning.errors import ConfigError
from gan_lightning.initialisation import initialise
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
                          "choose model.conditional=false, or data with labels")
    networks = {name: instantiate(node) for name, node in cfg.model.items() if OmegaConf.is_config(node)}
    for network in networks.values():
        initialise(network, cfg.model.get("init"))
    if getattr(networks.get("generator"), "z_dim", 1) < 1:
        raise ConfigError(f"model.z_dim={networks['generator'].z_dim}: must be at least 1")
    objective = instantiate(cfg.loss)
    task = instantiate(cfg.task, _partial_=True)(**networks, objective=objective)
    _refuse_batch_norm_under_penalties(task, objective.d_terms)
    return task


def build_module(cfg: DictConfig) -> "GANModule":
    """The whole training module. The same seed gives the same weights."""
    from gan_lightning.module import GANModule

    torch.manual_seed(cfg.seed)
    task = build_task(cfg)
    config = OmegaConf.to_container(cfg, resolve=True)
    module = GANModule(task, build_optim(cfg.optim), seed=cfg.seed, config=config)
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


def build_trainer(cfg: DictConfig, run_dir: Path, **kwargs: Any) -> "L.Trainer":
    """A Trainer on the devices that `trainer.*` names, with the strategy that two players need.

    `kwargs` (loggers, callbacks, max_steps as a function of the world size) complete it.
    """
    import lightning as L

    from gan_lightning.checkpoint_io import AtomicCheckpointIO
    from gan_lightning.strategy import GANStrategy

    settings: dict[str, Any] = {key: value for key, value in OmegaConf.to_container(cfg.trainer, resolve=True).items()
                                if key != "_target_"}
    strategy = settings.pop("strategy", "auto")
    if isinstance(strategy, str) and strategy.startswith("ddp"):
        raise ConfigError(f"trainer.strategy={strategy}: DDP's wrapper fails when two players take turns; "
                          "leave it out, and trainer.devices > 1 chooses trainer.strategy=gan")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    probe = L.Trainer(**settings, **quiet)  # only Lightning knows what `devices=auto` comes to
    world_size = probe.num_devices * probe.num_nodes
    if strategy in ("auto", "gan"):
        strategy = GANStrategy() if world_size > 1 else "auto"
    max_steps = kwargs.pop("max_steps")
    return L.Trainer(**settings, strategy=strategy, default_root_dir=run_dir, max_steps=max_steps(world_size),
                     max_epochs=-1, use_distributed_sampler=False, enable_progress_bar=False,
                     plugins=[AtomicCheckpointIO()], **kwargs)


def _refuse_batch_norm_under_penalties(task: Task, d_terms: dict) -> None:
    penalties = [name for name, term in d_terms.items() if getattr(term, "per_sample", False)]
    batch_norms = [name for name, layer in task.d.named_modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if penalties and batch_norms:
        raise ConfigError(f"loss.d_terms.{penalties[0]} needs a discriminator that scores each sample by itself, and "
                          f"batch normalisation ({batch_norms[0]}) mixes them: set model.d_norm to none, layer, "
                          "instance or spectral")
