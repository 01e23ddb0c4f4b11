"""Scores against torch-fidelity and torchmetrics, at equal values: CPU time, as a ratio, and memory.

    python benchmarks/metrics.py [--cases evaluation trace memory] [--images 1000] [--weights FILE] [--json FILE]

evaluation: FID, IS and KID together, from images to numbers, weights read from disk: of as many fakes as reals, at 32
    pixels, in float32 and bf16; then a second time in the same run, with what is known of the reals kept.
    torch-fidelity runs end to end through calculate_metrics, the second time with its own cache of the reals;
    torchmetrics gets each image's features once, from its own network, for all three metrics, which is its best case.
    KID is one estimate over all images, as a subset of all of them is for the two libraries.
trace: the Fréchet distance from means and covariances of 2048 features, with n = 4096, and with n = 500 (singular).
memory: what an evaluation adds, at its peak, to a process: 50 times as many images as --images, 2048 features each,
    drawn by a generator in place of the network, FID, IS and KID, in a process of its own.

Without --weights the Inception network has random weights: time is the same, and values can still be compared.
A full run takes some 25 minutes of one core; `--images 50` shows in two that everything works.
"""

import argparse
import math
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import figure, write
from torch import Tensor, nn

from gan_lightning.data.base import ImageData
from gan_lightning.data.sources import InMemory
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.metrics.extractors.base import Extract, Extractor
from gan_lightning.metrics.extractors.inception import Inception, skeleton
from gan_lightning.metrics.scores.frechet import FrechetDistance, distance_to, gaussian
from gan_lightning.metrics.scores.inception_score import InceptionScore
from gan_lightning.metrics.scores.kernel import KernelDistance

CPU = torch.device("cpu")
BATCH = 64


class Held(ImageData):
    """Images that are there already."""

    def __init__(self, images: Tensor):
        super().__init__(images.shape[-1], images.shape[1])
        self.images = images

    def load(self, split: str) -> InMemory:
        return InMemory(self.images)


class Listed(torch.utils.data.Dataset):
    """The same for torch-fidelity."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i]


def made_images(n: int, seed: int, contrast: float) -> Tensor:
    """Smooth noise, uint8 (n, 3, 32, 32)."""
    random = torch.Generator().manual_seed(seed)
    coarse = nn.functional.interpolate(torch.randn(n, 3, 8, 8, generator=random), 32, mode="bilinear")
    return (128 + contrast * coarse).clamp(0, 255).round().to(torch.uint8)


def write_random_weights(path: Path) -> None:
    """He-normal, so that features keep their size through the network."""
    random = np.random.RandomState(0)
    state = {}
    for name, value in skeleton().state_dict().items():
        if value.ndim > 1:
            new = random.standard_normal(value.shape) * math.sqrt(2 / math.prod(value.shape[1:]))
        elif name.endswith(("running_var", "bn.weight")):
            new = np.ones(value.shape)
        else:
            new = np.zeros(value.shape)
        state[name] = torch.tensor(new, dtype=value.dtype)
    torch.save(state, path)


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    return action(), time.process_time() - begin


def scores() -> dict[str, Any]:
    return {"frechet": FrechetDistance(), "inception_score": InceptionScore(), "kernel": KernelDistance()}


class Ours:
    """An evaluation as a training run makes it: the first one also looks at the reals."""

    def __init__(self, weights: Path, precision: str, reals: Tensor, cache: Path):
        self.data = Held(reals)
        extractor = Inception(str(weights), precision=precision, other_weights=True)
        self.evaluation = Evaluation(extractor, scores(), main="frechet", num_fake=len(reals), cache=str(cache))

    def __call__(self, fakes: Tensor, first: bool) -> dict[str, float]:
        if first:
            self.evaluation.prepare(self.data)
            self.evaluation.agree(self.data)
        result = self.evaluation.measure(ImageSet(InMemory(fakes), torch.arange(len(fakes))), self.data)
        fid, inception_score, _, kid = result.values().values()  # named after the extractor, in the scores' order
        return {"fid": fid, "is": inception_score, "kid": kid}


def torch_fidelity(weights: Path, fakes: Tensor, reals: Tensor, cache: Path) -> dict[str, float]:
    from torch_fidelity import calculate_metrics

    found = calculate_metrics(
        input1=Listed(fakes), input2=Listed(reals), input2_cache_name="reals", cache_root=str(cache), cuda=False,
        isc=True, fid=True, kid=True, kid_subsets=1, kid_subset_size=min(len(fakes), len(reals)), batch_size=BATCH,
        feature_extractor_weights_path=str(weights), save_cpu_ram=True, verbose=False)
    return {"fid": found["frechet_inception_distance"], "is": found["inception_score_mean"],
            "kid": found["kernel_inception_distance_mean"]}


class Given(nn.Module):
    """Stands for the network, where features are computed already."""

    num_features = 2048

    def forward(self, features: Tensor) -> Tensor:
        return features


def torchmetrics(weights: Path, fakes: Tensor, reals: Tensor) -> dict[str, float]:
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
    from torchmetrics.image.inception import InceptionScore as TheirInceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    network = NoTrainInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(weights), antialias=False)
    fid = FrechetInceptionDistance(Given())
    inception_score = TheirInceptionScore(Given())
    kid = KernelInceptionDistance(Given(), subsets=1, subset_size=min(len(fakes), len(reals)))
    with torch.no_grad():
        for images, real in ((fakes, False), (reals, True)):
            for batch in images.split(BATCH):
                pool, logits = network._torch_fidelity_forward(batch)
                fid.update(pool, real=real)
                kid.update(pool, real=real)
                if not real:
                    inception_score.update(logits)
    return {"fid": fid.compute().item(), "is": inception_score.compute()[0].item(), "kid": kid.compute()[0].item()}


def evaluation(n: int, weights: Path, folder: Path) -> list[dict]:
    reals, fakes, later = made_images(n, 1, 50), made_images(n, 2, 60), made_images(n, 3, 55)
    ours = {precision: Ours(weights, precision, reals, folder / "ours") for precision in ("float32", "bf16")}
    first = {
        "torch-fidelity": timed(lambda: torch_fidelity(weights, fakes, reals, folder / "theirs")),
        "ours, float32": timed(lambda: ours["float32"](fakes, first=True)),
        "ours, bf16": timed(lambda: ours["bf16"](fakes, first=True)),
        "torchmetrics": timed(lambda: torchmetrics(weights, fakes, reals)),
    }
    plain = first["torch-fidelity"][1]
    second = {
        "torch-fidelity, its cache": timed(lambda: torch_fidelity(weights, later, reals, folder / "theirs")),
        "ours, float32": timed(lambda: ours["float32"](later, first=False)),
        "ours, bf16": timed(lambda: ours["bf16"](later, first=False)),
    }
    title = f"FID + IS + KID of {n} fakes and {n} reals"
    return _rows(title, first, plain) + _rows(f"{title}, second time", second, plain)


def _rows(case: str, results: dict[str, tuple[dict[str, float], float]], plain: float) -> list[dict]:
    reference = next(iter(results.values()))[0]
    return [{"case": case, "who": who, "seconds": seconds, "speed_up": plain / seconds, **values,
             "fid_differs": abs(values["fid"] / reference["fid"] - 1),
             "is_differs": abs(values["is"] / reference["is"] - 1)}
            for who, (values, seconds) in results.items()]


def moments(n: int, d: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, covariance and centred samples over sqrt(n - 1), of correlated features."""
    random = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0, 3, d, dtype=torch.float64).neg().exp()
    x = torch.randn(n, d, dtype=torch.float64, generator=random) * scales + 0.1 * seed
    x[:, 1:] += 0.5 * x[:, :-1]
    centred = (x - x.mean(0)) / math.sqrt(n - 1)
    return x.mean(0), centred.T @ centred, centred


def traces(n: int, repeats: int, d: int = 2048) -> list[dict]:
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torchmetrics.image.fid import _compute_fid

    (mean, cov, x), (mean_r, cov_r, x_r) = moments(n, d, 1), moments(n, d, 2)
    exact = float((mean - mean_r).square().sum() + x.square().sum() + x_r.square().sum()
                  - 2 * torch.linalg.svdvals(x @ x_r.T).sum())
    both = [{"mu": m.numpy(), "sigma": s.numpy()} for m, s in ((mean, cov), (mean_r, cov_r))]
    real = gaussian(mean_r, cov_r, n)
    ways = {
        "ours, reals kept": lambda: distance_to(mean, cov, n, real),
        "ours, first time": lambda: distance_to(mean, cov, n, gaussian(mean_r, cov_r, n)),
        "torch-fidelity": lambda: fid_statistics_to_metric(*both, False)["frechet_inception_distance"],
        "torchmetrics": lambda: float(_compute_fid(mean, cov, mean_r, cov_r)),
    }
    try:
        from scipy.linalg import sqrtm
    except ImportError:
        pass
    else:
        ways["scipy sqrtm"] = lambda: float((mean - mean_r).square().sum() + cov.trace() + cov_r.trace()) - 2 * float(
            np.trace(sqrtm((cov @ cov_r).numpy())).real)
    seconds: dict[str, list[float]] = {who: [] for who in ways}
    values = {}
    for _ in range(repeats):  # in turn, so that a busy machine slows all
        for who, way in ways.items():
            values[who], taken = timed(way)
            seconds[who].append(taken)
    medians = {who: statistics.median(taken) for who, taken in seconds.items()}
    return [{"case": f"distance at d = {d}, n = {n}", "who": who, "seconds": taken,
             "speed_up": medians["torch-fidelity"] / taken, "error": abs(values[who] / exact - 1)}
            for who, taken in medians.items()]


class Drawn(Extractor):
    """Features as many as Inception's, drawn by lot."""

    name, dim, logits = "drawn", 2048, 1008

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name}

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        random = torch.Generator().manual_seed(0)

        def extract(images: Tensor) -> tuple[Tensor, Tensor]:
            return tuple(torch.randn(len(images), k, generator=random) for k in (self.dim, self.logits))

        yield extract


def _measure_drawn(n: int, folder: str) -> None:
    data, fakes = (Held(torch.randint(256, (n, 3, 2, 2), dtype=torch.uint8)) for _ in range(2))
    measured = Evaluation(Drawn(), scores(), main="frechet", num_fake=n, cache=folder)
    measured.prepare(data)
    measured.agree(data)
    measured.measure(ImageSet(fakes.source(), torch.arange(n)), data)


def _peak_bytes() -> int:
    """The most memory that this process has had."""
    if Path("/proc/self/status").exists():  # the other number starts from the parent's
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _added(n: int, threads: int, folder: str, answer: Any) -> None:
    torch.set_num_threads(threads)
    before = _peak_bytes()
    _, seconds = timed(lambda: _measure_drawn(n, folder))
    answer.put((_peak_bytes() - before, seconds))


def memory(n: int, threads: int, folder: Path) -> list[dict]:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=_added, args=(n, threads, str(folder), answer))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the process that measures memory failed")
    added, seconds = answer.get()
    return [{"case": f"memory of {n} fakes and {n} reals, d = 2048", "who": "ours", "seconds": seconds,
             "gb": added / 1e9}]


def table(rows: list[dict]) -> str:
    lines, case = [], None
    for row in rows:
        if row["case"] != case:
            case = row["case"]
            lines.append(case)
        cells = [f"  {row['who']:26}{row['seconds']:9.2f} s"]
        if "speed_up" in row:
            cells.append(f"{row['speed_up']:6.2f}x")
        if "fid" in row:
            cells.append(f"FID {row['fid']:.7g} (differs by {row['fid_differs']:.0e})  IS {row['is']:.7g} "
                         f"({row['is_differs']:.0e})  KID {row['kid']:.4g}")
        if "error" in row:
            cells.append(f"relative error {row['error']:.0e}")
        if "gb" in row:
            cells.append(f"{row['gb']:.2f} GB")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def figures(rows: list[dict]) -> list[dict]:
    """What goes into the table of benchmarks/README.md."""
    names = {"speed_up": ("times as fast", "x"), "gb": ("peak memory", "GB")}
    return [figure(f"{row['case']}: {row['who']}, {name}", [row[key]], unit) for row in rows
            for key, (name, unit) in names.items() if key in row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cases = ["evaluation", "trace", "memory"]
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases)
    parser.add_argument("--images", type=int, default=1000, help="fakes, and as many reals; at least 20")
    parser.add_argument("--repeats", type=int, default=3, help="of each distance")
    parser.add_argument("--weights", type=Path, help="of Inception; random ones without it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: list[dict] = []

    def report(new: list[dict]) -> None:
        rows.extend(new)
        print(table(new), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "evaluation" in args.cases:
            weights = args.weights or folder / "random.pth"
            if args.weights is None:
                write_random_weights(weights)
            report(evaluation(args.images, weights, folder))
        if "trace" in args.cases:
            for n in (4096, 500):
                report(traces(n, args.repeats))
        if "memory" in args.cases:
            report(memory(50 * args.images, args.threads, folder))
    write(args.json, figures(rows), threads=args.threads, images=args.images, rows=rows)


if __name__ == "__main__":
    sys.exit(main())
