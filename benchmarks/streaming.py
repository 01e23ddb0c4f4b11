"""Memory and images per second of sets that are streamed: tar shards, parquet, and a folder of the same files.

20,000 JPEG files of 64 px are made in a temporary folder, as such, in 20 tar shards and in 20 parquet files. A process
of its own then goes through an epoch of each, in batches of 64 with 2 workers, which decode:
    memory     of the main process and its workers at 10 % and at 100 % of an epoch: private pages, and a share of
               those in common (PSS), without what glibc's malloc keeps of the batches that were freed
    images/s   wall clock, of the whole epoch, workers' start included; the kinds take turns
    CPU        seconds of all processes for 1,000 images

    python benchmarks/streaming.py [--json]
"""

import argparse
import ctypes
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))                                       # so that it runs from a checkout

KINDS = ("folder", "webdataset", "huggingface")
SIZE, BATCH, WORKERS = 64, 64, 2


def jpegs(count: int) -> Iterator[bytes]:
    """Smooth random pictures: of about 2 kB each."""
    random = np.random.default_rng(0)
    for _ in range(count):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        stream = io.BytesIO()
        small.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        yield stream.getvalue()


def make(folder: Path, count: int, shards: int) -> None:
    """The same files in three forms below `folder`."""
    import pyarrow
    from pyarrow import parquet

    for kind in KINDS:
        (folder / kind).mkdir()
    images, each = jpegs(count), count // shards
    for shard in range(shards):
        files = list(islice(images, each))
        with tarfile.open(folder / f"webdataset/train-{shard:03}.tar", "w") as tar:
            for i, content in enumerate(files):
                member = tarfile.TarInfo(f"{shard:03}{i:05}.jpg")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                (folder / f"folder/{member.name}").write_bytes(content)
        features = {"info": {"features": {"image": {"_type": "Image"}}}}
        table = pyarrow.table({"image": [{"bytes": content, "path": None} for content in files]})
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        parquet.write_table(table, folder / f"huggingface/train-{shard:05}-of-{shards:05}.parquet", row_group_size=100)


def data(kind: str, folder: Path):
    common = {"resolution": SIZE, "channels": 3, "batch_size": BATCH, "hflip": True, "workers": WORKERS}
    if kind == "folder":
        from gan_lightning.data.folder import Folder
        return Folder(str(folder / kind), memory_gb=0, **common)
    if kind == "webdataset":
        from gan_lightning.data.webdataset import WebDataset
        return WebDataset(str(folder / kind), reference_images=1000, **common)
    from gan_lightning.data.huggingface import HuggingFace
    return HuggingFace(str(folder / kind), reference_images=1000, **common)


def memory_mb() -> float:
    """Of this process and its children."""
    with suppress(AttributeError, OSError):                         # another C library has no such function
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    total, me = 0, os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    for pid in (me, *children):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1000


def epoch(kind: str, folder: Path) -> dict[str, float]:
    """One epoch, measured in this process."""
    import torch

    torch.set_num_threads(1)
    chosen = data(kind, folder)
    chosen.check()
    count = chosen.count() // BATCH
    loader = iter(chosen.loader(batches_per_step=1, seed=0))
    before, start, memory = _cpu(), time.perf_counter(), {}
    for number in range(1, count + 1):
        next(loader)
        if number == count // 10:
            pause = time.perf_counter()
            memory["mb_at_10_percent"] = round(memory_mb(), 1)
            start += time.perf_counter() - pause
    seconds = time.perf_counter() - start
    memory["mb_at_100_percent"] = round(memory_mb(), 1)
    del loader                                                      # ends the workers, whose time then counts
    return memory | {"images_per_s": round(count * BATCH / seconds),
                     "cpu_s_per_1000": round((_cpu() - before) / (count * BATCH) * 1000, 3)}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(count: int, shards: int, rounds: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), count, shards)
        environment = os.environ | {"GAN_LIGHTNING_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1",
                                    "HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf"}
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind in KINDS:
                done = subprocess.run([sys.executable, __file__, "--epoch", kind, folder], env=environment, check=True,
                                      stdout=subprocess.PIPE, text=True)
                found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    result = {kind: {name: statistics.median(one[name] for one in every) for name in every[0]}
              for kind, every in found.items()}
    for kind, numbers in result.items():
        numbers["growth"] = round(numbers["mb_at_100_percent"] / numbers["mb_at_10_percent"] - 1, 4)
        ratios = [one["images_per_s"] / other["images_per_s"]
                  for one, other in zip(found[kind], found["folder"], strict=True)]
        numbers["rate_to_folder"] = round(statistics.median(ratios), 2)
        numbers["rate_to_folder_min"], numbers["rate_to_folder_max"] = round(min(ratios), 2), round(max(ratios), 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--count", type=int, default=20_000, help="images")
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epoch", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.epoch:
        print(json.dumps(epoch(args.epoch[0], Path(args.epoch[1]))))
        return
    result = measure(args.count, args.shards, args.rounds)
    if args.json:
        print(json.dumps(result))
        return
    print(f"{'':12}{'MB at 10 %':>12}{'at 100 %':>10}{'growth':>9}{'images/s':>10}{'/ folder':>10}{'CPU s/1000':>12}")
    for kind, n in result.items():
        print(f"{kind:12}{n['mb_at_10_percent']:12.0f}{n['mb_at_100_percent']:10.0f}{n['growth']:9.1%}"
              f"{n['images_per_s']:10,.0f}{n['rate_to_folder']:10.2f}{n['cpu_s_per_1000']:12.2f}")


if __name__ == "__main__":
    main()
