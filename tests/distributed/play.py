"""Trains several configurations on 1, 2, 3 processes and writes what became of them.

    python play.py JOBS.json FOLDER

JOBS.json: name -> {"overrides": [...], "worlds": [1, 2], "traffic": whether to note what is sent}, `data.batch_size`
being that of all processes together, or {"function": "file.name", "worlds": [...]}, called with (rank, world). Writes
FOLDER/WORLD/NAME.RANK.pt. Torch is imported once, each configuration composed once, and each number of processes is one
set of forks that plays all jobs: start-up would take longer than the games.
"""

import json
import multiprocessing
import os
import socket
import sys
import traceback
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from hydra import compose, initialize_config_dir
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parents[2]))

from gan_lightning import training
from gan_lightning.config import resolvers, schema
from gan_lightning.module import GANModule
from gan_lightning.shares import local

CONF = Path(__file__).parents[2] / "conf"


class Traffic(TorchDispatchMode):
    """Notes all that goes through torch.distributed: (whose turn, operation, bytes), or whose turn is None outside of
    a training step."""

    def __init__(self) -> None:
        super().__init__()
        self.module: GANModule | None = None
        self.seen: list[tuple] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "c10d":
            given = args[0] if isinstance(args[0], list | tuple) else [args[0]]
            size = sum(t.numel() * t.element_size() for t in torch.utils._pytree.tree_leaves(given) if torch.is_tensor(t))
            self.seen.append((self.module and self.module.moving, function.__name__.split(".")[0], size))
        return function(*args, **(kwargs or {}))


def play(cfg: DictConfig, run_dir: Path, note_traffic: bool) -> dict:
    """What one process ends with: the whole state, or the error."""
    module, step, build = None, GANModule.training_step, training.build_module
    traffic = Traffic() if note_traffic else None

    def note(*args):
        nonlocal module
        module = build(*args)
        return module

    def counted(self, *args):
        traffic.module = self
        step(self, *args)
        traffic.module = None

    training.build_module = note
    if traffic:
        GANModule.training_step = counted
    try:
        with traffic or nullcontext():
            training.train(cfg, run_dir)
    except Exception as error:  # noqa: BLE001 - for the test to look at
        return {"error": "".join(traceback.format_exception(error))}
    finally:
        training.build_module, GANModule.training_step = build, step
    strategy = module.trainer.strategy
    optimizers = [strategy.optimizer_state(optimizer)["state"] for optimizer in strategy.optimizers]
    return {"state": strategy.lightning_module_state_dict(), "optimizers": optimizers, "steps": module.steps, "nimg": module.nimg,
            "traffic": traffic and traffic.seen, "noted": getattr(module.task, "noted", None),
            "held": sum(local(weight).numel() for weight in module.parameters())}


def work(jobs: dict, folder: Path, world: int, rank: int, port: int) -> None:
    if world > 1:
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group("gloo", rank=rank, world_size=world, timeout=timedelta(seconds=60))
    os.environ["PATH"] = ""  # asking git for the revision would take longer than the training
    os.chdir(folder)
    environment = dict(os.environ)
    for name, job in jobs.items():
        if world not in job["worlds"]:
            continue
        os.environ.clear()
        os.environ |= environment  # what a run leaves there for processes that it starts
        if "function" in job:
            result = get_method(job["function"])(rank, world)
        else:
            result = play(share(job["cfg"], world), folder / "runs" / f"{name}-{world}", job.get("traffic", False))
        torch.save(result, folder / str(world) / f"{name}.{rank}.pt")
    if world > 1:
        dist.destroy_process_group()


def share(cfg: DictConfig, world: int) -> DictConfig:
    cfg = cfg.copy()
    cfg.data.batch_size //= world
    cfg.trainer.devices, cfg.trainer.accelerator = world, "cpu"
    return cfg


def main() -> int:
    jobs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    resolvers.register()
    schema.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for job in (job for job in jobs.values() if "overrides" in job):
            job["cfg"] = compose("config", ["logger=none", "callbacks=none", "metrics=none", *job["overrides"]])
            OmegaConf.resolve(job["cfg"])
    context = multiprocessing.get_context("fork")
    for world in sorted({world for job in jobs.values() for world in job["worlds"]}):
        (folder / str(world)).mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = [context.Process(target=work, args=(jobs, folder, world, rank, port)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
