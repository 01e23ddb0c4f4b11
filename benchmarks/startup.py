"""Start-up: CPU seconds of whole processes, until they end or until the first training step has.

    python benchmarks/startup.py [--groups config step scores] [--repeats 5] [--json FILE]

    config  `train.py --help` and two wrong settings, which must not wait for slow imports
    step    `train.py` with its defaults but for the scores, until its first step has ended; beside it, imports alone:
            torch, torch with lightning, and both with the data set that `train.py` trains on by default
    scores  with them: before the first step they prepare a classifier of the data, which is kept for later runs

All take turns. CPU time of child processes, as the operating system counts it; by one thread.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from reporting import figure, shown, write

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [sys.executable, str(ROOT / "train.py")]
LEAVE = '''
import os

import lightning


class Leave(lightning.Callback):
    """Ends the process when the first step has ended."""

    def on_train_batch_end(self, *args):
        os._exit(75)
'''
DATA = '''
import torch, lightning
from gan_lightning.data.digits import Digits

Digits(resolution=8, channels=1, num_classes=10).source("train")
'''
END = "\nimport os; os._exit(0)"  # as after the first step: without tidying up
FIRST_STEP = ["+callbacks.leave._target_=leave.Leave"]


class Command(NamedTuple):
    group: str
    words: list[str]
    exit_code: int = 0
    target: str = ""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code + END]


BASE, STEP = "import torch, lightning; load the data", "train.py metrics=none to the end of the first step"
COMMANDS = {
    "train.py --help": Command("config", [*TRAIN, "--help"], target="< 1"),
    "train.py with a wrong key": Command("config", [*TRAIN, "data.batch_sise=3"], 2, "< 1"),
    "train.py with a wrong choice": Command("config", [*TRAIN, "data=mnits"], 2, "< 1"),
    "import torch": Command("step", python("import torch")),
    "import torch, lightning": Command("step", python("import torch, lightning")),
    BASE: Command("step", python(DATA)),
    STEP: Command("step", [*TRAIN, "metrics=none", *FIRST_STEP], 75),
    "train.py to the end of the first step, first time": Command("scores", [*TRAIN, *FIRST_STEP], 75),
    "train.py to the end of the first step, later": Command("scores", [*TRAIN, *FIRST_STEP], 75),
}


def cpu_seconds(command: list[str], exit_code: int, folder: Path, environment: dict[str, str]) -> float:
    with open(folder / "log.txt", "w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) != exit_code:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}:\n{log.read()}")
    return usage.ru_utime + usage.ru_stime


def measure(repeats: int, threads: int, names: list[str]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "leave.py").write_text(LEAVE)
        for repeat in range(-1, repeats):  # the first warms the disk
            for name in names:
                command = COMMANDS[name]
                kept = folder / f"cache{repeat}"  # of what scores found out about the data: new with each repeat
                environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads),
                                            "GAN_LIGHTNING_CACHE": str(kept)}
                taken = cpu_seconds(command.words, command.exit_code, folder, environment)
                if repeat >= 0:
                    seconds[name].append(taken)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = sorted({command.group for command in COMMANDS.values()})
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--groups", nargs="+", choices=groups, default=groups)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = [name for name, command in COMMANDS.items() if command.group in args.groups]
    seconds = measure(args.repeats, args.threads, names)
    figures = [figure(name, seconds[name], "s CPU", COMMANDS[name].target) for name in names]
    if STEP in seconds:
        ratios = [step / base for step, base in zip(seconds[STEP], seconds[BASE], strict=True)]
        figures.append(figure(f"first step / {BASE}", ratios, "x", "<= 1.3"))
    for line in figures:
        print(shown(line))
    write(args.json, figures, threads=args.threads)


if __name__ == "__main__":
    sys.exit(main())
