"""Two processes: our strategy against Lightning's `ddp_find_unused_parameters_true`, for the same GANModule.

    python benchmarks/ddp.py [--cases toy2d mlp wgan_gp8 dcgan32] [--rounds 7] [--json FILE]

The processes train by one strategy for a while, then by the other, and so on, over gloo on the CPU. A round is n_critic
steps of D and one of G, with everything that `train.py` does in it but pictures, scores and checkpoints.
    wall clock  of a round, which includes waiting for the other process
    CPU time    of a round, of the first process
    bytes       that one process hands to collective operations in a round: gradients, buffers, and what is asked
"""

import argparse
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from reporting import figure, shown, write

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs from a checkout

WHO = {"ours": "our strategy", "lightnings": "ddp_find_unused_parameters_true"}


class Case(NamedTuple):
    overrides: list[str]
    length: int  # rounds that are timed at a time


CASES = {
    "toy2d": Case(["data=gaussians_ring", "model=toy2d", "data.batch_size=64"], 150),
    "mlp": Case(["model=mlp", "data.batch_size=32"], 150),
    "wgan_gp8": Case(["model=dcgan", "loss=wgan_gp", "data.batch_size=16"], 10),  # 5 critic steps on 8 px
    "dcgan32": Case(["model=dcgan", "model.width=32", "data.resolution=32", "data.channels=3", "data.batch_size=16"],
                    20),
}
QUIET = ["metrics=none", "callbacks.samples=null", "callbacks.curves=null",
         "callbacks.checkpoint=null", "callbacks.progress=null", "callbacks.watchdog=null", "trainer.accelerator=cpu",
         "trainer.devices=2"]
WARM_UP = 4  # rounds; the bytes of the last of them are counted


def timed(case: Case, who: str, folder: Path) -> dict[str, float]:
    """One training by the strategy `who`, in both processes."""
    import lightning as L
    from hydra import compose, initialize_config_dir
    from lightning.pytorch.strategies import DDPStrategy

    from gan_lightning import build, training
    from gan_lightning.config import conf_dir, resolvers, schema

    class Stopwatch(L.Callback):
        result: dict[str, float] = {}

        def on_train_batch_start(self, trainer: L.Trainer, *args: object) -> None:
            if trainer.global_step == WARM_UP - 1:
                self.sent = sent()
                self.sent.__enter__()

        def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
            if trainer.global_step == WARM_UP:
                self.sent.__exit__(None, None, None)
                trainer.strategy.barrier()
                self.start = time.perf_counter(), time.process_time()
            elif trainer.global_step == WARM_UP + case.length:
                self.result = {"wall": 1000 * (time.perf_counter() - self.start[0]) / case.length,
                               "cpu": 1000 * (time.process_time() - self.start[1]) / case.length,
                               "bytes": self.sent.bytes}
                trainer.should_stop = True

    resolvers.register()
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [*case.overrides, *QUIET, f"logger.csv.path={folder}/metrics.csv"])
    watch, build_trainer, strategy = Stopwatch(), training.build_trainer, build._strategy
    training.build_trainer = lambda *args, callbacks, **kwargs: build_trainer(
        *args, callbacks=[*callbacks, watch], **kwargs)
    if who == "lightnings":
        build._strategy = lambda given: DDPStrategy(find_unused_parameters=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            training.train(cfg, folder)
    finally:
        training.build_trainer, build._strategy = build_trainer, strategy
    return watch.result


def sent() -> Any:
    """Counts the bytes of the tensors that are handed to collective operations within."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Sent(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            if function.namespace == "c10d":
                self.bytes += sum(leaf.nbytes for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor))
            return function(*args, **kwargs or {})

    return Sent()


def play(case: Case, args: argparse.Namespace) -> None:
    """One of the two processes: all trainings, in turn. The first one writes what it measured."""
    import torch

    torch.set_num_threads(args.threads)
    case = case._replace(length=args.length or case.length)
    results: dict[str, list[dict[str, float]]] = {who: [] for who in WHO}
    for number in range(args.rounds + 1):
        for who, seen in results.items():
            folder = args.play.parent / f"{who}{number}"
            folder.mkdir(exist_ok=True)
            result = timed(case, who, folder)
            if number:  # the first training of each warms up
                seen.append(result)
    if os.environ["LOCAL_RANK"] == "0":
        args.play.write_text(json.dumps(results))


def measure(case: str, args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        out = Path(folder) / "results.json"
        command = [sys.executable, __file__, "--cases", case, "--rounds", str(args.rounds), "--threads",
                   str(args.threads), *(["--length", str(args.length)] if args.length else []), "--play", str(out)]
        shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": "0",
                               "OMP_NUM_THREADS": str(args.threads)}
        processes = [subprocess.Popen(command, env=shared | {"LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE,
                                      text=True) for rank in range(2)]
        errors = [process.communicate()[1] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit("\n".join(errors))
        return json.loads(out.read_text())


def figures_of(case: str, results: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    lines = []
    for clock, name, target in (("wall", "wall clock", ">= 1.3"), ("cpu", "CPU time", "")):
        ratios = [theirs[clock] / ours[clock] for ours, theirs in zip(*results.values(), strict=True)]
        lines.append(figure(f"{case}, {name}: {WHO['lightnings']} / ours", ratios, "x", target))
        lines += [figure(f"{case}, {name}: {WHO[who]}", [run[clock] for run in runs], "ms/round")
                  for who, runs in results.items()]
    return lines + [figure(f"{case}, sent: {WHO[who]}", [statistics.median(run["bytes"] for run in runs) / 1e6],
                           "MB/round") for who, runs in results.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7, help="trainings by each strategy")
    parser.add_argument("--length", type=int, help="of a training, in rounds of the game that are timed")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--play", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.play:
        return play(CASES[args.cases[0]], args)
    figures = []
    for case in args.cases:
        for line in figures_of(case, measure(case, args)):
            figures.append(line)
            print(shown(line), flush=True)
    write(args.json, figures, threads=args.threads)


if __name__ == "__main__":
    sys.exit(main())
