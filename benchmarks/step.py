"""The engine against a plain PyTorch loop: time of a round (n_critic steps of D, one of G), as a ratio.

    python benchmarks/step.py                                      mlp, float32
    python benchmarks/step.py --cases dcgan64 sngan32 --precisions 32-true bf16-mixed --json FILE
    python benchmarks/step.py --memory                             peak memory instead of time
    python benchmarks/step.py --device cuda --cases dcgan64 sngan32_paper resnet128 --precisions bf16-mixed compile=true

The engine runs as `train.py` runs it: Lightning's Trainer, loss and health callbacks, metrics.csv. The plain loop
(`benchmarks/plain.py`) does the same work on the same images, in float32 whatever the engine's precision. Both
alternate in one process, a few rounds each, so that a busy machine slows both. On a CPU the time is the process's CPU
time. On a GPU it is wall-clock time between synchronisations, and images per second and the share of the card's peak
are given too, counting the plain loop's arithmetic for both.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs from a checkout

import torch  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402
from omegaconf import DictConfig  # noqa: E402
from plain import PlainLoop  # noqa: E402
from reporting import figure, shown, write  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import flop_registry  # noqa: E402

from gan_lightning.config import conf_dir, resolvers, schema  # noqa: E402


class Case(NamedTuple):
    """One game, and what is asked of the engine's time on a CPU, as a share of the plain loop's."""

    overrides: list[str]
    chunk: int = 1  # rounds before it is the other's turn
    targets: dict[str, str] = {}


def _images(resolution: int, batch_size: int = 64) -> list[str]:
    return [f"data.resolution={resolution}", "data.channels=3", f"data.batch_size={batch_size}"]


SNGAN = ["model=resnet", "loss=hinge", "loss.n_critic=5", "loss.trains_with.betas=[0.0,0.9]"]
WGAN_GP = ["model=resnet", "loss=wgan_gp", "model.pool=mean", "model.init=he"]
WGAN_GP_TARGETS = {"32-true": "<= 0.90", "bf16-mixed": "<= 0.52"}
CASES = {
    "mlp": Case(["model=mlp", "data.batch_size=64"], 100, {"32-true": "<= 1.3"}),
    "dcgan32": Case(["model=dcgan", *_images(32)], 2),
    "dcgan64": Case(["model=dcgan", *_images(64)], 1, {"32-true": "<= 0.87", "bf16-mixed": "<= 0.50"}),
    # Half and a quarter of the papers' widths, and half the batch: theirs take half a minute a round on one CPU core.
    "sngan32": Case([*SNGAN, "model.width=64", *_images(32, 32)], 1, {"32-true": "<= 0.73", "bf16-mixed": "<= 0.42"}),
    "sngan32_paper": Case([*SNGAN, *_images(32)]),
    "wgan_gp32_resnet": Case([*WGAN_GP, "model.width=64", *_images(32, 32)], 1, WGAN_GP_TARGETS),
    "wgan_gp32_conv": Case(["model=dcgan", "loss=wgan_gp", *_images(32)], 1, WGAN_GP_TARGETS),
    "resnet128": Case(["model=resnet", "loss=hinge", *_images(128)]),  # the largest network here
}
QUIET = ["model.conditional=false", "metrics=none", "callbacks.samples=null", "callbacks.curves=null",
         "callbacks.checkpoint=null", "callbacks.progress=null"]

PROCESSES = {"engine": "engine", "plain": "plain loop, lightning imported", "bare": "plain loop, not imported"}


def configuration(case: str, overrides: list[str]) -> DictConfig:
    resolvers.register()
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", [*CASES[case].overrides, *QUIET, *overrides])


def train(cfg: DictConfig, callback: Any) -> None:
    """`train.py` in a folder that is thrown away, with one more callback."""
    from gan_lightning import training

    build_trainer = training.build_trainer
    training.build_trainer = lambda *args, callbacks, **kwargs: build_trainer(
        *args, callbacks=[*callbacks, callback], **kwargs)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            cfg.logger.csv.path = f"{folder}/metrics.csv"
            training.train(cfg, Path(folder))
    finally:
        training.build_trainer = build_trainer


def alternating(play: Callable[[], None], chunk: int, rounds: int, now: Callable[[], float]) -> Any:
    """A callback that times a chunk of the Trainer's rounds, then as many of the plain loop's, and so on."""
    import lightning as L

    class Alternate(L.Callback):
        engine: list[float] = []
        plain: list[float] = []
        started: float | None = None

        def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
            if trainer.global_step % chunk:
                return
            between = now()
            for _ in range(chunk):
                play()
            if self.started is not None:  # the first chunk of each warms up
                self.engine.append((between - self.started) / chunk)
                self.plain.append((now() - between) / chunk)
            trainer.should_stop = len(self.engine) == rounds
            self.started = now()

    return Alternate()


def clock(device: str) -> Callable[[], float]:
    if device == "cpu":
        return time.process_time

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised


def measure(case: str, precision: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    accelerator = "gpu" if args.device == "cuda" else "cpu"
    cfg = configuration(case, [f"trainer.accelerator={accelerator}", f"trainer.precision={precision}", *args.overrides])
    plain = PlainLoop(cfg, images(cfg), args.device, args.same_networks,
                      torch.bfloat16 if args.plain_bf16 else None)
    chunk = args.chunk or CASES[case].chunk
    times = alternating(plain.round, chunk, args.rounds, clock(args.device))
    train(cfg, times)
    name = ", ".join([case, precision, *args.overrides])
    loop = f"plain loop{' in bf16' if args.plain_bf16 else ''}{' with joined layers' if args.same_networks else ''}"
    ratios = [ours / theirs for ours, theirs in zip(times.engine, times.plain, strict=True)]
    as_asked = loop == "plain loop" and args.device == "cpu" and not args.overrides
    target = CASES[case].targets.get(precision, "") if as_asked else ""
    lines = [figure(f"{name}: engine / {loop}", ratios, "x", target),
             figure(f"{name}: engine", [1000 * t for t in times.engine], "ms/round"),
             figure(f"{name}: {loop}", [1000 * t for t in times.plain], "ms/round")]
    return lines + (of_the_card(name, cfg, plain, times, args) if args.device == "cuda" else [])


def images(cfg: DictConfig) -> torch.Tensor:
    from gan_lightning.build import instantiate

    return instantiate(cfg.data).source().real


def of_the_card(name: str, cfg: DictConfig, plain: PlainLoop, times: Any, args: argparse.Namespace) -> list[dict]:
    with Flops() as flops:
        plain.round()
    peak = args.peak_tflops or matrix_peak()
    count = cfg.data.batch_size * cfg.loss.n_critic
    lines = []
    for who, seconds in (("engine", times.engine), ("plain loop", times.plain)):
        lines.append(figure(f"{name}: {who}", [count / t for t in seconds], "images/s"))
        lines.append(figure(f"{name}: {who}, of {peak:.0f} TFLOP/s",
                            [100 * flops.total / t / peak / 1e12 for t in seconds], "%"))
    return lines


class Flops(TorchDispatchMode):
    """Counts the multiplications and additions of convolutions and matrix products."""

    total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = function(*args, **kwargs or {})
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs or {}, out_val=out)
        return out


def matrix_peak(n: int = 8192, repeats: int = 50) -> float:
    """TFLOP/s of a large product of bfloat16 matrices: what this card reaches at best."""
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    now = clock("cuda")
    seconds = []
    for _ in range(5):
        start = now()
        for _ in range(repeats):
            a @ b
        seconds.append((now() - start) / repeats)
    return 2 * n**3 / min(seconds) / 1e12


def memory(case: str, precision: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak resident memory of whole processes: one trains a few rounds by the engine, one by the plain loop."""
    command = [sys.executable, __file__, "--cases", case, "--precisions", precision, "--threads", str(args.threads),
               *(["--same-networks"] if args.same_networks else []), *args.overrides, "--process"]
    peaks: dict[str, list[float]] = {who: [] for who in PROCESSES}
    for _ in range(args.rounds):
        for who, seen in peaks.items():
            result = subprocess.run([*command, who], capture_output=True, text=True, check=True)
            seen.append(int(result.stdout.split()[-1]) / 1e6)
    name, target = f"{case}, {precision}: peak memory", {"plain": "<= 1.05"}
    ratios = {who: [ours / theirs for ours, theirs in zip(peaks["engine"], peaks[who], strict=True)]
              for who in ("plain", "bare")}
    return [*(figure(f"{name}, engine / {PROCESSES[who]}", values, "x", target.get(who, ""))
              for who, values in ratios.items()),
            *(figure(f"{name}, {PROCESSES[who]}", seen, "MB") for who, seen in peaks.items())]


def process(who: str, case: str, precision: str, args: argparse.Namespace, rounds: int = 4) -> None:
    """What `memory` starts: trains, and prints this process's peak memory in bytes, its libraries included."""
    cfg = configuration(case, ["trainer.accelerator=cpu", f"trainer.precision={precision}", *args.overrides])
    if who == "engine":
        train(cfg, alternating(lambda: None, 1, rounds, time.process_time))
    else:
        if who == "plain":
            import gan_lightning.training  # noqa: F401 - and with it lightning, torchmetrics, scipy ...
        loop = PlainLoop(cfg, images(cfg), same_networks=args.same_networks)
        for _ in range(rounds):
            loop.round()
    print(peak_bytes())


def peak_bytes() -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["mlp"])
    parser.add_argument("--precisions", nargs="+", choices=["32-true", "bf16-mixed", "16-mixed"], default=["32-true"],
                        help="of the engine")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each that count")
    parser.add_argument("--chunk", type=int, help="rounds of the game in a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--peak-tflops", type=float, help="of the card; measured by a matrix product if not given")
    parser.add_argument("--same-networks", action="store_true", help="the plain loop joins layers as the engine does")
    parser.add_argument("--plain-bf16", action="store_true", help="the plain loop runs under autocast to bfloat16")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time; Linux only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--process", choices=PROCESSES, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings for the engine")
    args = parser.parse_intermixed_args()
    torch.set_num_threads(args.threads)
    if args.process:
        return process(args.process, args.cases[0], args.precisions[0], args)
    figures = []
    for case in args.cases:
        for precision in args.precisions:
            for line in (memory if args.memory else measure)(case, precision, args):
                figures.append(line)
                print(shown(line), flush=True)
    write(args.json, figures, threads=args.threads)


if __name__ == "__main__":
    sys.exit(main())
