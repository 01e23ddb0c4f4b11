"""How good the samples get: presets on the digits, and every loss on the ring and on the grid, over several seeds.

    python benchmarks/quality.py --out runs/quality            what is missing there is run, one after the other
    python benchmarks/quality.py --out runs/quality --table    only writes what is there to README.md

A run is `python train.py` with the settings of its row, nothing else. Its score is that of the last checkpoint, not of
the best one; the spread is over seeds of training.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from reporting import figure, write
from table import filled

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- quality: made by benchmarks/quality.py -->", "<!-- /quality -->"
LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
DIGITS = ("digits_dcgan", "digits_wgan_gp", "digits_sngan", "digits_acgan", "digits_biggan", "digits_stylegan2",
          "digits_r3gan")
OWN_PENALTY = {"dragan": ["dragan"], "wgan_gp": ["gradient_penalty"], "rpgan": ["r1", "r2"], "wgan": []}


def on_points(data: str, loss: str, kimg: int) -> list[str]:
    return [f"data=gaussians_{data}", "model=toy2d", f"loss={loss}", f"max_kimg={kimg}", f"metrics.every_kimg={kimg}"]


def light_penalty(loss: str) -> list[str]:
    """Modes 0.01 wide need a steep D: 0.1 for a loss's own penalty, and R1 of 0.1 for those that have none."""
    weights = [f"loss.d_terms.{term}.weight=0.1" for term in OWN_PENALTY.get(loss, ["r1"])]
    return [*([] if loss in OWN_PENALTY else ["term=[r1]"]), *weights, "loss.trains_with.lr=1e-3"]


# Columns of the table of points: title -> the settings of a loss in it.
POINTS = {"ring": lambda loss: on_points("ring", loss, 500),
          "ring, light penalty": lambda loss: on_points("ring", loss, 1000) + light_penalty(loss),
          "grid": lambda loss: on_points("grid", loss, 500)}


def run_on(title: str, loss: str) -> str:
    """The name of the run in this column and row."""
    return f"{title.replace(', ', '_').replace(' ', '_')}_{loss}"


RUNS = {name: [f"experiment={name}"] for name in DIGITS} | {
    run_on(title, loss): settings(loss) for title, settings in POINTS.items() for loss in LOSSES}


def run(name: str, seed: int, out: Path) -> None:
    folder = out / name / str(seed)
    if (folder / "seconds.txt").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut short
    command = [sys.executable, "train.py", *RUNS[name], f"seed={seed}", "callbacks.progress=null",
               f"hydra.run.dir={folder.resolve()}"]
    before = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} seed={seed} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (folder / "seconds.txt").write_text(f"{time.perf_counter() - before:.0f}")
    print(f"{name} seed={seed}: {folder.joinpath('seconds.txt').read_text()} s", flush=True)


def found(name: str, out: Path) -> dict[str, list[float]]:
    """Each score's values over the seeds, and what runs cost."""
    values: dict[str, list[float]] = {}
    for folder in sorted((out / name).glob("*")):
        if not (folder / "seconds.txt").exists():
            continue
        last = json.loads((folder / "summary.json").read_text())["last"]
        for score, value in last.items():
            if score.startswith("metrics/"):
                values.setdefault(score.removeprefix("metrics/"), []).append(value)
        values.setdefault("seconds", []).append(float((folder / "seconds.txt").read_text()))
    return values


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values):.2g}"


def table(names: list[str], scores: dict[str, str], out: Path) -> list[str]:
    """A row for each run that has been made: mean and standard deviation of `scores`, title -> name."""
    lines = [f"| run | {' | '.join(scores)} | seeds | seconds |", f"|---|{'---|' * (len(scores) + 2)}"]
    for name in names:
        values = found(name, out)
        if values:
            cells = [spread(values[score]) if score in values else "" for score in scores.values()]
            seconds = values["seconds"]
            settings = " ".join(setting for setting in RUNS[name] if "every_kimg" not in setting)
            lines.append(f"| `{settings}` | {' | '.join(cells)} | {len(seconds)} | {statistics.mean(seconds):.0f} |")
    return lines


def table_of_points(out: Path) -> list[str]:
    """A row for each loss: modes found, and the share of points near one, in each of `POINTS`."""
    lines = [f"| loss | {' | '.join(f'{title}: modes | near one' for title in POINTS)} |",
             f"|---|{'---|' * 2 * len(POINTS)}"]
    for loss in LOSSES:
        cells = []
        for title in POINTS:
            values = found(run_on(title, loss), out)
            cells += [spread(values[score]) if values else "" for score in ("modes", "high_quality")]
        lines.append(f"| `{loss}` | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", nargs="*", default=list(RUNS), choices=list(RUNS), metavar="RUN")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="no runs, only the table in README.md")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in range(arguments.seeds):
            for name in arguments.runs:
                run(name, seed, arguments.out)
    scores = ("fd_classifier", "precision_classifier", "recall_classifier")
    digits = table(list(DIGITS), {f"`{score}`": score for score in scores}, arguments.out)
    content = "\n".join([*digits, "", *table_of_points(arguments.out)])
    print(content)
    if arguments.table:
        readme = ROOT / "README.md"
        readme.write_text(filled(readme.read_text(), content, BEGIN, END))
    write(arguments.json, [figure(f"{name}: {score}", values, "") for name in RUNS
                           for score, values in found(name, arguments.out).items()])


if __name__ == "__main__":
    main()
