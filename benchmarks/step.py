"""The engine against a plain PyTorch loop: CPU time per round (n_critic steps of D, one of G), as a ratio.

    python benchmarks/step.py [--cases mlp dcgan32 sngan32 dcgan64] [--rounds 9] [--threads 1] [--json FILE]

The engine runs as users run it: Lightning's Trainer, our callbacks, losses logged to metrics.csv. The plain loop does
the same work on the same networks and images, written the way tutorials write it: default Adam, contiguous tensors,
D left differentiable in G's step, a loop over parameters for the average of G. Both alternate in one process, a few
rounds each, so that a busy machine slows both.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from copy import deepcopy
from pathlib import Path

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch.nn.functional import relu, softplus

from gan_lightning import training
from gan_lightning.build import build_task
from gan_lightning.config import conf_dir, resolvers, schema

CASES = {  # overrides, and rounds per chunk
    "mlp": (["model=mlp", "data.batch_size=64"], 100),
    "dcgan32": (["model=dcgan", "model.conditional=false", "data.resolution=32", "data.channels=3",
                 "data.batch_size=64"], 4),
    "sngan32": (["model=resnet", "loss=hinge", "loss.n_critic=5", "data.resolution=32", "data.channels=3",
                 "data.batch_size=16"], 1),
    "dcgan64": (["model=dcgan", "model.conditional=false", "data.resolution=64", "data.channels=3",
                 "data.batch_size=32"], 2),
}


class PlainLoop:
    """What the engine does, in plain PyTorch."""

    def __init__(self, cfg: DictConfig, images: torch.Tensor):
        torch.manual_seed(cfg.seed)
        task = build_task(cfg)
        self.g, self.d, self.average = task.g, task.d, deepcopy(task.g)
        self.images, self.n_critic, self.batch_size = images, cfg.loss.n_critic, cfg.data.batch_size
        self.hinge = "Hinge" in cfg.loss.adversarial._target_
        lr, betas = cfg.loss.trains_with.lr, tuple(cfg.loss.trains_with.betas)
        self.g_adam = torch.optim.Adam(self.g.parameters(), lr, betas)
        self.d_adam = torch.optim.Adam(self.d.parameters(), lr, betas)

    def round(self) -> None:
        for _ in range(self.n_critic):
            index = torch.randint(len(self.images), (self.batch_size,))
            real = self.images[index].float() / 127.5 - 1
            fake = self.g(torch.randn(self.batch_size, self.g.z_dim)).detach()
            real_logits, fake_logits = self.d(real), self.d(fake)
            if self.hinge:
                loss = relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()
            else:
                loss = softplus(-real_logits).mean() + softplus(fake_logits).mean()
            self.d_adam.zero_grad()
            loss.backward()
            self.d_adam.step()
        fake_logits = self.d(self.g(torch.randn(self.batch_size, self.g.z_dim)))
        loss = -fake_logits.mean() if self.hinge else softplus(-fake_logits).mean()
        self.g_adam.zero_grad()
        loss.backward()
        self.g_adam.step()
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self.g.parameters(), strict=True):
                average.lerp_(weight, 0.001)
            for average, buffer in zip(self.average.buffers(), self.g.buffers(), strict=True):
                average.copy_(buffer)


class Alternate(L.Callback):
    """Times a chunk of the Trainer's rounds, then as many of the plain loop's, and so on."""

    def __init__(self, plain: PlainLoop, chunk: int):
        self.plain, self.chunk = plain, chunk
        self.engine_seconds: list[float] = []
        self.plain_seconds: list[float] = []
        self._started: float | None = None

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        if trainer.global_step % self.chunk:
            return
        now = time.process_time()
        if self._started is not None:
            self.engine_seconds.append(now - self._started)
            for _ in range(self.chunk):
                self.plain.round()
            self.plain_seconds.append(time.process_time() - now)
        else:  # the first chunk of each warms up
            for _ in range(self.chunk):
                self.plain.round()
        self._started = time.process_time()


def measure(case: str, rounds: int, overrides: list[str]) -> dict:
    settings, chunk = CASES[case]
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [*settings, f"logger.csv.path={folder}/metrics.csv", "callbacks.samples=null",
                                 "callbacks.curves=null", "callbacks.checkpoint=null", "callbacks.progress=null",
                                 *overrides])
        images_per_round = cfg.data.batch_size * cfg.loss.n_critic
        cfg.max_kimg = images_per_round * chunk * (rounds + 1) / 1000
        data = training.instantiate(cfg.data)
        alternate = Alternate(PlainLoop(cfg, data.source().real), chunk)
        build_trainer = training.build_trainer
        training.build_trainer = lambda *args, callbacks, **kwargs: build_trainer(
            *args, callbacks=[*callbacks, alternate], **kwargs)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                training.train(cfg, Path(folder))
        finally:
            training.build_trainer = build_trainer
    ratios = [a / b for a, b in zip(alternate.engine_seconds, alternate.plain_seconds, strict=True)]
    return {
        "case": case,
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "engine_ms": 1000 * statistics.median(alternate.engine_seconds) / chunk,
        "plain_ms": 1000 * statistics.median(alternate.plain_seconds) / chunk,
        "rounds": len(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["mlp", "dcgan32", "sngan32"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings for the engine")
    args = parser.parse_intermixed_args()
    torch.set_num_threads(args.threads)
    resolvers.register()
    schema.register()
    results = []
    for case in args.cases:
        result = measure(case, args.rounds, args.overrides)
        results.append(result)
        ratio = result["ratio"]
        print(f"{case:8} engine/plain {ratio['median']:.2f} (min {ratio['min']:.2f}, max {ratio['max']:.2f})   "
              f"engine {result['engine_ms']:.2f} ms, plain {result['plain_ms']:.2f} ms per round, "
              f"{result['rounds']} pairs", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"torch": torch.__version__, "threads": args.threads, "results": results},
                                        indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
