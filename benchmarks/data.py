"""Images per second: a set held in memory against torchvision's transforms per sample.

Both hand out batches of 64 synthetic 32 x 32 RGB images as float32 in [-1, 1], half of them mirrored:
    per sample: PIL image -> RandomHorizontalFlip, ToTensor, Normalize -> DataLoader without workers
    in memory:  one gather of uint8 per batch, mirrored and scaled as a batch
The two take turns, so that whatever else the machine does falls on both.

    python benchmarks/data.py [--rounds 9] [--json FILE]
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from reporting import figure, shown, write
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))        # so that it runs from a checkout

from gan_lightning.data.base import to_float  # noqa: E402
from gan_lightning.data.loader import Loader  # noqa: E402
from gan_lightning.data.sources import InMemory  # noqa: E402

COUNT, SIZE, BATCH = 10_000, 32, 64


class PerSample(Dataset):
    """PIL images in memory, each transformed as it is asked for."""

    def __init__(self, real: Tensor) -> None:
        self.images = [Image.fromarray(pixels) for pixels in real.permute(0, 2, 3, 1).numpy()]
        self.transform = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor(),
                                             transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index])


def per_sample(real: Tensor) -> Iterator[Tensor]:
    loader = DataLoader(PerSample(real), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        yield from loader


def in_memory(real: Tensor) -> Iterator[Tensor]:
    for batch in Loader(InMemory(real), batch_size=BATCH, hflip=True):
        yield to_float(batch["real"])


def rate(batches: Iterable[Tensor], count: int) -> float:
    """Images per second over `count` batches."""
    start = time.perf_counter()
    images = sum(len(batch) for batch in islice(batches, count))
    return images / (time.perf_counter() - start)


def measure(rounds: int) -> list[dict]:
    real = torch.randint(0, 256, (COUNT, 3, SIZE, SIZE), dtype=torch.uint8)
    slow, fast = per_sample(real), in_memory(real)
    rate(slow, 20), rate(fast, 200)                                 # warm up
    pairs = [(rate(slow, 120), rate(fast, 2000)) for _ in range(rounds)]
    return [figure("data in memory / transforms per sample", [ours / theirs for theirs, ours in pairs], "x", ">= 15"),
            figure("data in memory", [ours for _, ours in pairs], "images/s"),
            figure("transforms per sample", [theirs for theirs, _ in pairs], "images/s")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = measure(args.rounds)
    for line in figures:
        print(shown(line))
    write(args.json, figures, threads=args.threads)


if __name__ == "__main__":
    main()
