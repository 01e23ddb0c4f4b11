"""Going on from a checkpoint: which one, and whether it fits."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from gan_lightning.changes import Change, changes
from gan_lightning.checkpoint import (
    LAST,
    DamagedCheckpoint,
    checkpoints_in,
    locate,
    newest_run,
    read_checkpoint,
    replace_by_link,
)
from gan_lightning.errors import CheckpointError, ConfigError
from gan_lightning.metrics.together import rank_and_world
from gan_lightning.module import GANModule
from gan_lightning.summary import shown

_DECIDED = "GAN_LIGHTNING_RESUME"
"""In the environment of the processes that the first one starts: its process id, and what it goes on from."""

SHOWN = 12


class Start(NamedTuple):
    """The checkpoint that a run goes on from."""

    path: Path
    content: dict[str, Any]
    damaged: Path | None = None  # the newer one that it stands in for

    def __str__(self) -> str:
        return f"{self.path} ({self.content['gan_lightning']['nimg'] / 1000:g} kimg)"


def find_start(ckpt_path: str | None, run_dir: Path, beside: bool) -> Start | None:
    """What `ckpt_path` means for a run in `run_dir`; None to start afresh.

    "last", or a run's directory, is that run's newest whole checkpoint; a file is that file and no other.

    Args:
        beside: whether "last" may be another run's, the newest beside this one.

    Raises:
        ConfigError: `run_dir` holds a run that this one would overwrite.
        CheckpointError: no such checkpoint, or none that is whole.
    """
    starter, _, path = os.environ.get(_DECIDED, "").partition(" ")
    if os.environ.get("LOCAL_RANK", "0") != "0" and starter == str(os.getppid()):  # the first process of this run
        return Start(Path(path), read_checkpoint(path)) if path else None
    start = None
    if ckpt_path == "last":
        folder = run_dir if checkpoints_in(run_dir) else newest_run(run_dir) if beside else None
        if folder is None:
            where = f"{run_dir} nor in the runs beside it" if beside else str(run_dir)
            _say(f"ckpt_path=last: no checkpoint in {where}; starting afresh")
        else:
            start = _newest_whole(folder)
    elif ckpt_path is not None:
        folder = Path(ckpt_path).expanduser()
        start = _newest_whole(folder) if checkpoints_in(folder) else Start(locate(folder), read_checkpoint(folder))
    occupied = checkpoints_in(run_dir) or (run_dir / "summary.json").exists()
    if occupied and (start is None or run_dir.resolve() not in start.path.resolve().parents):
        raise ConfigError(f"{run_dir} holds a run already: go on with it (ckpt_path=last), or choose another "
                          "folder (hydra.run.dir=...)")
    os.environ[_DECIDED] = f"{os.getpid()} {start.path if start else ''}"
    return start


def _newest_whole(folder: Path) -> Start:
    paths = checkpoints_in(folder)
    for path in paths:
        try:
            start = Start(path, read_checkpoint(path), paths[0] if path != paths[0] else None)
        except DamagedCheckpoint:
            continue
        if start.damaged:
            kimg = start.content["gan_lightning"]["nimg"] / 1000
            _say(f"{shown(paths[0])} is damaged, or was cut short: {path.name} is taken instead ({kimg:g} kimg)")
        return start
    raise CheckpointError(f"{folder}: none of its checkpoints is whole ({', '.join(path.name for path in paths)})")


def mend(start: Start, run_dir: Path) -> None:
    """Puts the checkpoint gone on from in place of a damaged `last.ckpt`: else that would become the previous one."""
    if start.damaged == run_dir / LAST:
        replace_by_link(start.path, start.damaged)


def check_agreement(start: str) -> None:
    """Raises CheckpointError on all processes if what they go on from, `str(Start)` or "None", is not the same."""
    world_size = rank_and_world()[1]
    if world_size == 1:
        return
    all_of_them: list[str] = [""] * world_size
    dist.all_gather_object(all_of_them, start)
    for rank, theirs in enumerate(all_of_them):
        if theirs != all_of_them[0]:
            raise CheckpointError(f"process 0 goes on from {all_of_them[0]}, process {rank} from {theirs}: name the "
                                  "file (ckpt_path=FILE), in a folder that all machines see")


def check_fit(start: Start, module: GANModule, allow_changes: bool) -> None:
    """Says which settings differ from the checkpoint's, and drops the state of an optimizer of another class.

    Raises:
        CheckpointError: the model is another one and `allow_changes` is false, or its weights do not fit.
    """
    saved = start.content["config"]
    found = changes(saved, module.config)
    other_model = [change for change in found if change.of_model]
    if other_model and not allow_changes:
        raise CheckpointError(f"{start.path} does not fit this run: {_short(other_model)}; restore the settings, or "
                              "choose allow_changes=true to go on where the weights fit")
    misfits = _misfits(start.content["state_dict"], module.state_dict())
    if misfits:
        reason = f" ({_short(other_model)})" if other_model else ""
        raise CheckpointError(f"{start.path} does not fit this run{reason}: {'; '.join(misfits[:4])}"
                              + (f"; and {len(misfits) - 4} more" if len(misfits) > 4 else ""))
    if found:
        _say("\n  ".join([f"changed since {start.path.name}:", *map(str, found[:SHOWN]),
                          *([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])]))
    for state, player in zip(start.content["optimizer_states"], ("d", "g"), strict=True):
        if _optimizer(saved, player) != _optimizer(module.config, player):
            state["state"] = {}  # another class starts afresh


def _misfits(saved: dict[str, Tensor], now: dict[str, Tensor]) -> list[str]:
    lines = []
    for name in dict.fromkeys([*saved, *now]):
        old, new = (tuple(state[name].shape) if name in state else None for state in (saved, now))
        if old != new:
            lines.append(f"{name} is not in the checkpoint" if old is None else f"{name} is in the checkpoint only"
                         if new is None else f"{name} has shape {new}, in the checkpoint {old}")
    return lines


def _optimizer(config: dict[str, Any], player: str) -> Any:
    return config["optim"][player]["_target_"]


def _short(found: list[Change]) -> str:
    more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
    return "; ".join(f"{change.setting} was {change.was}, is {change.now}" for change in found[:4]) + more


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)
