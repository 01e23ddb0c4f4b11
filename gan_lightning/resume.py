"""Going on from a checkpoint: which one, and whether it fits."""

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from gan_lightning.checkpoint import LAST, locate, newest
from gan_lightning.errors import CheckpointError, ConfigError
from gan_lightning.module import GANModule

_DECIDED = "GAN_LIGHTNING_RESUME"


def find_checkpoint(ckpt_path: str | None, run_dir: Path, beside: bool) -> Path | None:
    """The checkpoint that `ckpt_path` means for a run in `run_dir`; None to start afresh.

    Args:
        beside: whether "last" may be another run's, the newest beside this one.

    Raises:
        ConfigError: `run_dir` holds a run that this one would overwrite.
        CheckpointError: no such checkpoint.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0" and _DECIDED in os.environ:
        return Path(os.environ[_DECIDED]) if os.environ[_DECIDED] else None  # what the first process found
    found = None
    if ckpt_path == "last":
        found = newest(run_dir, beside)
        if found is None:
            where = f"{run_dir} nor in the runs beside it" if beside else str(run_dir)
            print(f"ckpt_path=last: no checkpoint in {where}; starting afresh", flush=True)
    elif ckpt_path is not None:
        found = locate(ckpt_path)
    occupied = any((run_dir / sign).exists() for sign in (LAST.parent, "summary.json"))
    if occupied and (found is None or run_dir.resolve() not in found.resolve().parents):
        raise ConfigError(f"{run_dir} holds a run already: go on with it (ckpt_path=last), or choose another "
                          "folder (hydra.run.dir=...)")
    os.environ[_DECIDED] = str(found or "")
    return found


def check_fit(checkpoint: dict[str, Any], module: GANModule, path: Path) -> None:
    """Raises CheckpointError if `module` cannot go on from `checkpoint`, naming the settings that differ."""
    saved, config = checkpoint["config"], module.config
    optimizers = [[c["optim"][player]["_target_"] for player in ("g", "d")] for c in (saved, config)]
    if _shapes(checkpoint["state_dict"]) == _shapes(module.state_dict()) and optimizers[0] == optimizers[1]:
        return
    parts = ("model", "task", "data", "optim", "loss")
    different = [line for part in parts for line in _differences(saved.get(part), config.get(part), part)]
    raise CheckpointError(f"{path} does not fit this run: {'; '.join(different[:4]) or 'its networks differ'}")


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _differences(saved: Any, now: Any, path: str) -> list[str]:
    if isinstance(saved, dict) and isinstance(now, dict):
        keys = list(saved) + [key for key in now if key not in saved]
        return [line for key in keys for line in _differences(saved.get(key), now.get(key), f"{path}.{key}")]
    if saved == now:
        return []
    old, new = ("set" if isinstance(value, dict) else value for value in (saved, now))
    return [f"{path} was {old}, is {new}"]
