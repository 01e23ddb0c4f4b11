"""What goes with what: models, losses, conditionings, augmentations and terms, two at a time and all at once.

    python benchmarks/matrix.py                    every pair of choices -> docs/matrix.md
    python benchmarks/matrix.py --sample 2         combinations of all five, in which each choice comes at least twice

A combination is composed as `train.py` would, at the model's smallest size, and plays two rounds on the CPU: losses
and gradients must be finite, and each player's gradient not zero. Or it is refused, with a reason, before training.
"""

import argparse
import importlib.util
import random
import sys
import warnings
from itertools import combinations
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gan_lightning.build import build_module  # noqa: E402
from gan_lightning.config import resolvers, schema  # noqa: E402
from gan_lightning.config.check import check  # noqa: E402
from gan_lightning.errors import ConfigError  # noqa: E402
from gan_lightning.tasks.base import Clock  # noqa: E402

AXES = ("model", "loss", "conditioning", "augment", "term")
USUAL = {"model": "dcgan", "loss": "hinge", "conditioning": "native", "augment": "none", "term": None}
TOLD = "native, labels"    # the model's own way with labels, where plain `native` is without
Choice = dict[str, str | None]


def choices(axis: str) -> list[str]:
    names = [path.stem for path in (ROOT / "conf" / axis).glob("*.yaml")]
    return sorted(names + [TOLD] * (axis == "conditioning"))


def smallest() -> dict[str, list[str]]:
    """The settings at which the tests run each model: the smallest that it has."""
    spec = importlib.util.spec_from_file_location("test_matrix", ROOT / "tests" / "test_matrix.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SMALL


def outcome(choice: Choice, small: dict[str, list[str]]) -> str:
    """ "" if it plays, "refused: why", or "FAILED: how"."""
    conditioning = choice["conditioning"]
    overrides = [f"{axis}={choice[axis]}" for axis in ("model", "loss", "augment")]
    overrides.append(f"conditioning={'native' if conditioning == TOLD else conditioning}")
    overrides += [f"term=[{choice['term'] or ''}]", *small[choice["model"]], "metrics=none", "logger=none"]
    if conditioning in ("native", TOLD) and (choice["model"] != "toy2d" or conditioning == TOLD):
        overrides.append(f"model.conditional={str(conditioning == TOLD).lower()}")
    try:
        cfg = _compose(overrides)
        check(cfg)
        module = build_module(cfg)
    except (ConfigError, HydraException) as error:
        reason = next((cause for cause in _causes(error) if isinstance(cause, ConfigError)), None)
        if "Could not override 'model.conditional'" in str(error):
            reason = f"no setting 'model.conditional': model={choice['model']} takes no labels by itself"
        return f"refused: {reason}" if reason else f"FAILED: {error}"
    try:
        return _play(cfg, module)
    except Exception as error:  # noqa: BLE001 - each in its own way
        return f"FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _compose(overrides: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides)


def _causes(error: BaseException | None):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _play(cfg: DictConfig, module: torch.nn.Module) -> str:
    task = module.task
    optimizers = dict(zip(("d", "g"), module.configure_optimizers(), strict=True))
    for step in range(2):
        for player, loss in (("d", task.d_loss), ("g", task.g_loss)):
            weights, others = module.weights[player], module.weights["g" if player == "d" else "d"]
            for weight in others:
                weight.requires_grad_(False)
            optimizers[player].zero_grad()
            losses = loss(_batch(cfg), Clock(step, 0, 8))
            sum(losses.values()).backward()
            for weight in others:
                weight.requires_grad_(True)
            if not all(value.isfinite() for value in losses.values()):
                return f"FAILED: {player} losses {({k: v.item() for k, v in losses.items()})}"
            norm = sum(weight.grad.norm() for weight in weights if weight.grad is not None)
            if not (norm > 0 and norm.isfinite()):
                return f"FAILED: gradient of {player} has norm {norm:.3g}"
            optimizers[player].step()
            if player == "d":
                task.after_d_step()
    return ""


def _batch(cfg: DictConfig) -> dict[str, torch.Tensor]:
    n, c, r = 8, cfg.data.channels, cfg.data.resolution
    real = torch.randn(n, c) if r == 1 else torch.rand(n, c, r, r) * 2 - 1
    return {"real": real, "label": torch.randint(cfg.data.num_classes, (n,))}


def pairs(small: dict[str, list[str]]) -> dict[tuple[str, str], dict[tuple[str, str], str]]:
    """The outcome of each pair of choices, the other three being the usual ones."""
    found = {}
    for one, other in combinations(AXES, 2):
        found[one, other] = {(a, b): outcome(USUAL | {one: a, other: b}, small)
                             for a in choices(one) for b in choices(other)}
        print(f"{one} x {other}: {_counted(found[one, other].values())}", flush=True)
    return found


def _counted(outcomes) -> str:
    outcomes = list(outcomes)
    refused, failed = (sum(o.startswith(word) for o in outcomes) for word in ("refused", "FAILED"))
    return f"{len(outcomes) - refused - failed} play, {refused} refused, {failed} failed"


def sampled(times: int, seed: int, small: dict[str, list[str]]) -> list[tuple[Choice, str]]:
    """Random combinations of all five, until each choice has been in `times` that play, or in twenty in vain."""
    draw = random.Random(seed)
    options = {axis: choices(axis) for axis in AXES}
    played = {(axis, name): 0 for axis in AXES for name in options[axis]}
    tried, results = dict(played), []
    while True:
        wanted = [key for key, n in played.items() if n < times and tried[key] < 20]
        if not wanted:
            return results
        choice = {axis: draw.choice(options[axis]) for axis in AXES}
        axis, name = draw.choice(wanted)
        choice[axis] = name
        torch.manual_seed(seed)
        result = outcome(choice, small)
        results.append((choice, result))
        for key in choice.items():
            tried[key] += 1
            played[key] += not result


def document(found: dict) -> str:
    """docs/matrix.md."""
    lines = ["# What goes with what", "",
             "Made by `python benchmarks/matrix.py`: every pair of choices, the other three being "
             f"{', '.join(f'`{axis}={name}`' for axis, name in USUAL.items() if name)} and no term, composed as",
             "`train.py` would and played for two rounds on the CPU at the model's smallest size. `+` plays, with",
             "finite gradients that are not zero; a number is refused before training, for the reason of that number.",
             f"Labels come with all conditionings but `native` and `infogan`; `{TOLD}` is `conditioning=native` with",
             "`model.conditional=true`.",
             ""]
    reasons: dict[str, int] = {}
    for (one, other), outcomes in found.items():
        columns = sorted({b for _, b in outcomes})
        lines += [f"## {one} x {other}: {_counted(outcomes.values())}", "",
                  f"| {one} | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
        for a in sorted({a for a, _ in outcomes}):
            cells = []
            for b in columns:
                result = outcomes[a, b]
                cells.append("+" if not result else str(reasons.setdefault(result, len(reasons) + 1)))
            lines.append(f"| {a} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Reasons", "", *(f"{number}. {reason}" for reason, number in reasons.items()), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="combinations until each choice played so often")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "matrix.md")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    resolvers.register()
    schema.register()
    small = smallest()
    if arguments.sample:
        results = sampled(arguments.sample, arguments.seed, small)
        failed = [(choice, result) for choice, result in results if result.startswith("FAILED")]
        print(_counted(result for _, result in results))
    else:
        found = pairs(small)
        failed = [(pair, o) for outcomes in found.values() for pair, o in outcomes.items() if o.startswith("FAILED")]
        arguments.out.write_text(document(found))
    for choice, result in failed:
        print(choice, result)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
