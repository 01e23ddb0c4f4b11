"""The command line and the environment of a job, and how people would write it."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Quote, QuotedString

from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.following import PARENT

OF_THE_SWEEP = ("hydra.mode", "hydra.run.", "hydra.sweep", "hydra/sweeper", "hydra.launcher", "hydra/launcher")
"""Hydra's settings that are not a job's."""
OF_ONE_PROCESS = ("LOCAL_RANK", "NODE_RANK", "RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
                  "MASTER_PORT", "PL_GLOBAL_SEED", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID",
                  "SLURM_LOCALID", "GAN_LIGHTNING_RESUME", "GAN_LIGHTNING_STARTER")
"""Variables that tell a process which of several it is. A job starts its own."""


def quoted(text: str) -> str:
    """`text` as one string in an override, whatever is in it."""
    plain = re.fullmatch(r"/[\w./-]+|[a-zA-Z]\w*", text, re.ASCII)  # Hydra's grammar knows no other letters unquoted
    if plain and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return QuotedString(text, Quote.single).with_quotes()


def literal(value: Any) -> str:
    """A plain value, list or mapping as an override's value."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(literal, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value) if isinstance(value, str) else repr(value)


def program() -> list[str]:
    """How this program was started, without its arguments: `python train.py`, `python -m MODULE`, `gan-train`."""
    arguments = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1:len(sys.orig_argv) - arguments]]


def flags() -> list[str]:
    """The options of the command line that say where configs are."""
    given = vars(get_args_parser().parse_intermixed_args())
    names = ("config_path", "config_name", "config_dir")
    return [f"--{name.replace('_', '-')}={given[name]}" for name in names if given[name] is not None]


def kept(hydra_overrides: Sequence[str]) -> list[str]:
    """Hydra's settings that a job shares with its sweep, such as `hydra.searchpath=...`."""
    return [override for override in hydra_overrides if not override.lstrip("+~").startswith(OF_THE_SWEEP)]


def job_command(hydra_overrides: Sequence[str], overrides: Sequence[str], folder: Path) -> list[str]:
    """What runs one job: options first, since Hydra takes none after an override."""
    return [*program(), *flags(), *overrides, *kept(hydra_overrides), "hydra.mode=RUN",
            f"hydra.run.dir={quoted(str(folder))}"]


def shown(arguments: Sequence[str], with_flags: bool = True) -> str:
    """The command as a person would type it. `with_flags`: those of this command line added."""
    name = sys.argv[0]
    module = sys.orig_argv[1:2] == ["-m"]
    if module:
        start = f"python -m {sys.orig_argv[2]}"
    else:
        start = f"python {name}" if name.endswith(".py") else Path(name).name
    return shlex.join([*start.split(), *(flags() if with_flags else []), *arguments])


def environment(full_error: str | None, n_jobs: int, gpus: Sequence[str] | None) -> dict[str, str]:
    """The variables of a job: those of the sweep, less what only the sweep's own process is told.

    Args:
        full_error: what the user set HYDRA_FULL_ERROR to.
        gpus: that the job shall see; None: all.
    """
    ours = {key: value for key, value in os.environ.items()
            if key not in (*OF_ONE_PROCESS, "HYDRA_FULL_ERROR") and not key.startswith("TORCHELASTIC_")}
    ours |= {"PYTHONUNBUFFERED": "1", PARENT: str(os.getpid())}
    if full_error is not None:
        ours["HYDRA_FULL_ERROR"] = full_error
    if gpus is not None:
        ours["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if n_jobs > 1:  # else each job takes all cores, and they wait for one another
        ours.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // n_jobs)))
    return ours


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_slices(n_jobs: int, gpus_per_job: int | None) -> list[list[str] | None]:
    """The GPUs of each job that runs at the same time.

    Raises:
        ConfigError: there are not as many.
    """
    if gpus_per_job is None:
        return [None] * n_jobs
    visible = _visible_gpus()
    if n_jobs * gpus_per_job > len(visible):
        raise ConfigError(f"hydra.launcher.gpus_per_job={gpus_per_job} hydra.launcher.n_jobs={n_jobs}: need "
                          f"{n_jobs * gpus_per_job} GPUs, and {len(visible)} are visible")
    return [visible[i * gpus_per_job:(i + 1) * gpus_per_job] for i in range(n_jobs)]


def _visible_gpus() -> list[str]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]
