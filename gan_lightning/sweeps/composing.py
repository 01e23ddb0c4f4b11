"""The config of each job, composed and checked before any of them runs."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gan_lightning.config.check import check
from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.command import kept, quoted
from gan_lightning.sweeps.jobs import Job

SEARCH_GROUP = "hparams_search"


class Composer:
    """Composes the configs of a sweep's jobs.

    Args:
        config: of the sweep, as Hydra composed it.
    """

    def __init__(self, context: HydraContext, config: DictConfig):
        self.loader, self.config = context.config_loader, config
        with current(config):
            self.folder = Path(str(config.hydra.sweep.dir)).absolute()

    def check(self, job: Job) -> DictConfig:
        """The config of a job without Hydra's part; the job gets its folder.

        Raises:
            ConfigError: one that a run would refuse, or that the launcher cannot run; says which job.
            HydraException, OmegaConfBaseException: it cannot be composed.
        """
        config = self._load(job.number, job.overrides)
        with current(config):
            job.folder = self.folder / str(config.hydra.sweep.subdir)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.runtime.output_dir = str(job.folder)
        run = _without_hydra(config)
        try:
            with current(config):
                check(run, config.hydra.overrides.task)
            check_devices(run, self.config.hydra.launcher)
        except ConfigError as error:
            raise ConfigError(f"{error} ({job.title})" if job.swept else str(error)) from error
        return run

    def to_repeat(self, overrides: Sequence[str]) -> list[str]:
        """The overrides that make a run what it was in the sweep, without those that only say how to sweep."""
        kind = [override for override in overrides if override.startswith(f"{SEARCH_GROUP}=")]
        others = [override for override in overrides if override not in kind]
        if not kind:
            return others
        shared, name = kept(self.config.hydra.overrides.hydra), self.config.hydra.job.config_name
        whole, less = (OmegaConf.to_container(_without_hydra(self.loader.load_configuration(
            name, [*chosen, *shared], RunMode.RUN))) for chosen in (overrides, others))
        return others if whole == less else [*overrides, "hydra.mode=RUN"]

    def _load(self, number: int, overrides: Sequence[str]) -> DictConfig:
        config = self.loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = str(number)
        return config


def check_devices(run: DictConfig, launcher: DictConfig) -> None:
    """Raises ConfigError if the launcher cannot give a run the devices that it asks for."""
    name = str(launcher.get("_target_", "")).rpartition(".")[2]
    trainer = run.get("trainer") or {}
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if name == "ProcessLauncher":
        if nodes != 1:
            raise ConfigError(f"trainer.num_nodes={nodes}: hydra/launcher=process runs each job on this machine; "
                              f"hydra/launcher=submitit_slurm hydra.launcher.nodes={nodes} takes several")
        return
    tasks = launcher.get("tasks_per_node", 1), launcher.get("nodes", 1)
    if (devices, nodes) == tasks or (tasks == (1, 1) and nodes == 1 and _is_one(devices)):
        return
    if name == "SlurmLauncher":
        raise ConfigError(f"trainer.devices={devices} trainer.num_nodes={nodes}: SLURM must start one task per device: "
                          f"hydra.launcher.tasks_per_node={devices} hydra.launcher.nodes={nodes}")
    raise ConfigError(f"trainer.devices={devices}: {name} runs jobs of one device; hydra/launcher=process runs others")


def _is_one(devices: Any) -> bool:
    if isinstance(devices, str):
        return devices in ("1", "0,")
    return devices == 1 if isinstance(devices, int) else len(devices) == 1


def refuse_torchrun() -> None:
    """Raises ConfigError inside of torchrun, where each of several processes would run the whole sweep."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("torchrun and -m: a sweep starts the processes of its jobs itself; run python train.py -m")


def subfolder(job: Job) -> list[str]:
    """Overrides that put a job which Hydra runs itself into its folder."""
    return [f"hydra.sweep.dir={quoted(str(job.folder.parent))}", f"hydra.sweep.subdir={quoted(job.folder.name)}"]


@contextmanager
def current(config: DictConfig) -> Iterator[None]:
    """What `${hydra:...}` refers to meanwhile."""
    holder = HydraConfig.instance()
    before, writable = holder.cfg, not OmegaConf.is_readonly(config.hydra)
    holder.set_config(config)
    try:
        yield
    finally:
        holder.cfg = before
        OmegaConf.set_readonly(config.hydra, not writable)


def _without_hydra(config: DictConfig) -> DictConfig:
    run = config.copy()
    with open_dict(run):
        del run["hydra"]
    return run
