"""summary.json, and the block of text that a run ends with."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
from torch import nn

from gan_lightning import __version__
from gan_lightning.callbacks.scores import Scores
from gan_lightning.checkpoint import BEST, LAST, write_atomically
from gan_lightning.module import GANModule
from gan_lightning.writing import Writing

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "torch-fidelity", "wandb")


def summarise(module: GANModule, trainer: L.Trainer, run_dir: Path) -> dict[str, Any]:
    """What was reached, at what cost, with what. Written to summary.json by rank 0."""
    seconds, rows = module.journal.seconds, module.journal.rows
    scores = next((callback for callback in trainer.callbacks if isinstance(callback, Scores)), None)
    summary = {
        "ended": module.stopped or "finished",
        "kimg": module.nimg / 1000,
        "g_steps": module.steps,
        "d_steps": module.steps * module.task.n_critic,
        "wall_seconds": round(seconds, 1),
        "images_per_second": round(module.nimg / seconds, 1) if seconds else None,
        "g_parameters": _count(module.task.g),
        "d_parameters": _count(module.task.d),
        "last": {name: value for row in rows for name, value in row.items() if "/" in name},
        "best": _best(scores),
        "scores": scores.last if scores else None,
        "seed": module.seed,
        "devices": trainer.world_size,
        "precision": str(trainer.precision),
        "versions": {"gan_lightning": __version__, "python": platform.python_version()} | _versions(),
        "git_revision": _git_revision(),
    }
    if trainer.is_global_zero:
        text = json.dumps(summary, indent=2) + "\n"
        path = run_dir / "summary.json"
        Writing(path.name).attempt(lambda: write_atomically(path, lambda file: file.write(text.encode())))
    return summary


def _best(scores: Scores | None) -> dict[str, Any]:
    if scores is None or scores.best is None:
        return {}
    name = scores.best["name"]
    scored = scores.best["scores"][name]
    return {"score": name, "value": scored["value"], "kimg": scores.best["kimg"], "fingerprint": scored["id"],
            "checkpoint": str(BEST)}


def shown(path: Path) -> Path:
    """`path` as a person at the present directory would write it."""
    path, here = Path(path).absolute(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def report(summary: dict[str, Any], run_dir: Path) -> str:
    """What was reached and where everything lies."""
    last, run_dir = summary["last"], shown(run_dir)
    names = [name for name in sorted(last) if name.startswith(("d/loss", "g/loss"))]
    losses = ", ".join(f"{name} {last[name]:.3g}" for name in names)
    steps = f"{summary['g_steps']:,} generator and {summary['d_steps']:,} discriminator steps"
    lines = [
        "",
        f"trained   {summary['kimg']:,.1f} kimg ({steps}) in {summary['wall_seconds']:,.0f} s, "
        f"{summary['images_per_second'] or 0:,.0f} images/s",
        f"reached   {losses}" if losses else "",
        _scored(summary),
        *[f"{what:9} {run_dir / path}" for what, path in (
            ("samples", _newest_sample(run_dir)), ("curves", "curves.png"),
            ("weights", LAST), ("best", BEST), ("summary", "summary.json")) if path and (run_dir / path).exists()],
        f"sample    python sample.py ckpt={run_dir} n=64" if (run_dir / LAST).exists() else "",
    ]
    return "\n".join(line for i, line in enumerate(lines) if line or i == 0)


def _scored(summary: dict[str, Any]) -> str:
    """The principal score at the end, what reals would get, and the best on the way."""
    if not summary["scores"]:
        return ""
    name, best = summary["scores"]["main"], summary["best"]
    last = summary["scores"]["scores"][name]
    if not best or last["value"] is None:
        return f"scored    {name} {last['value']}"
    reals = "" if last["reals"] is None else f" (reals {last['reals']:.4g})"
    return f"scored    {name} {last['value']:.4g}{reals}, best {best['value']:.4g} at {best['kimg']:g} kimg"


def _newest_sample(run_dir: Path) -> Path | None:
    pictures = sorted((run_dir / "samples").glob("kimg_*.png"))
    return pictures[-1].relative_to(run_dir) if pictures else None


def _count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git_revision() -> str | None:
    """The revision of the code that ran, "-dirty" if it had uncommitted changes; None outside a repository."""
    commands = (["git", "ls-files", "--error-unmatch", Path(__file__).name],  # not just any repository around us
                ["git", "describe", "--always", "--dirty", "--abbrev=12"])
    try:
        for command in commands:
            result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10,
                                    check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None
