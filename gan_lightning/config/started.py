"""When a run began, the same on all of its processes: the name of its directory depends on it."""

import os
import time
from datetime import timedelta
from functools import cache

from gan_lightning.errors import ConfigError

NAME_IT = "processes that others started must agree on one directory: name it, hydra.run.dir=runs/NAME"


def started(pattern: str) -> str:
    """`${started:%Y-%m-%d}`: the local time, in the format of `time.strftime`.

    Processes that Lightning starts are told the directory itself. Those of torchrun or srun each come here, and would
    each see another second on the clock.

    Raises:
        ConfigError: they have no way to agree.
    """
    return time.strftime(pattern, time.localtime(_began()))


def know_local_rank() -> None:
    """Tells processes that srun started which of their machine they are in the way that torchrun does."""
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_LOCALID" in os.environ:
        os.environ.setdefault("LOCAL_RANK", os.environ["SLURM_LOCALID"])


@cache
def _began() -> float:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _of_torchrun()
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        if "SLURM_JOB_START_TIME" not in os.environ:  # Slurm before 22.05
            raise ConfigError(f"no SLURM_JOB_START_TIME: {NAME_IT}")
        return float(os.environ["SLURM_JOB_START_TIME"])
    return time.time()


def _of_torchrun() -> float:
    """The clock of the process with rank 0, through the store that torchrun keeps."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ConfigError(f"torchrun without a store of its own: {NAME_IT}")
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
                     timeout=timedelta(minutes=5))
    key = f"gan_lightning/started/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if os.environ["RANK"] == "0":
        store.set(key, repr(time.time()))
    return float(store.get(key))
