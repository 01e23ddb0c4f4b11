"""A small generator with batch norm, small data, small extractors; and, run as a program, one process of an evaluation.

    python toys.py RANK WORLD RENDEZVOUS_FILE OUT.json SETTINGS.json
"""

import json
import sys
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from gan_lightning.data.base import ImageData
from gan_lightning.data.sources import InMemory
from gan_lightning.latents import indexed
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.metrics.extractors.base import Extractor
from gan_lightning.metrics.generated import fakes_of
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.statistics.base import Statistic
from gan_lightning.sampling import GAN


class ToyTask(nn.Module):
    """z ~ N(0, 1)^8, labels 0 to 3."""

    num_classes = 4

    def sample_batch(self, indices, seed, label=None, truncation=None):
        z, drawn = indexed("normal", indices, seed, 8, self.num_classes, truncation)
        return {"z": z, "label": drawn if label is None else label}

    def generate(self, batch, g):
        return g(batch["z"], batch["label"])


class ToyGenerator(nn.Module):
    num_classes = 4

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 48), nn.BatchNorm1d(48))

    def forward(self, z, label):
        x = torch.cat([z, nn.functional.one_hot(label, 4).to(z.dtype)], 1)
        return self.net(x).tanh().view(-1, 3, 4, 4)


def toy_gan():
    """In train mode, with running statistics that are not those of a batch."""
    torch.manual_seed(0)
    g = ToyGenerator()
    for _ in range(20):
        g(torch.randn(32, 8), torch.randint(4, (32,)))
    return GAN(ToyTask(), g, {})


class ToyData(ImageData):
    def __init__(self, n=83, change=None, num_classes=4):
        super().__init__(resolution=4, channels=3, num_classes=num_classes)
        random = torch.Generator().manual_seed(1)
        self.images = torch.randint(256, (n, 3, 4, 4), generator=random, dtype=torch.uint8)
        self.label = torch.arange(n) * 4 // n if num_classes else None  # sorted by class, as folders are
        if change is not None:
            self.images[change] ^= 1

    def load(self, split):
        return InMemory(self.images, self.label)


class ToyExtractor(Extractor):
    """A linear layer: 6 features, 4 classes."""

    name, dim, logits = "toy", 6, 4
    opened = 0

    def __init__(self, fails_on: int | None = None, fails_in: str = "extract"):
        self.fails_on, self.fails_in = fails_on, fails_in

    def fingerprint(self):
        return {"name": self.name, "weights": "toy"}

    @contextmanager
    def loaded(self, device):
        type(self).opened += 1
        self._fail("load")
        weight = torch.randn(48, 10, generator=torch.Generator().manual_seed(3))

        def extract(images):
            self._fail("extract")
            assert images.dtype == torch.uint8 and torch.is_inference_mode_enabled()
            out = images.flatten(1).float() @ weight / 1000
            return out[:, :6], out[:, 6:]

        yield extract

    def _fail(self, where):
        rank = dist.get_rank() if dist.is_initialized() else 0
        if self.fails_on == rank and self.fails_in == where:
            raise RuntimeError(f"out of memory in {where}")


class Means(Statistic):
    """Number, sum of features, sum of labels, and the largest share that a class has."""

    def __init__(self, plan):
        super().__init__(plan)
        self.add_sum("n", ())
        self.add_sum("total", (plan.dim,))
        self.add_sum("labels", (max(plan.classes, 1),))
        self.add_sum("index", (), torch.int64)

    def update(self, features):
        self.n += len(features.index)
        self.total += features.pool.double().sum(0)
        self.index += features.index.sum()
        if features.label is not None:
            self.labels += torch.bincount(features.label, minlength=len(self.labels))


class MeanDistance(Score):
    """Distance of the mean features; the number of fakes; the sum of their numbers."""

    reads = (Means,)
    values = {"distance": False, "n": None, "index": None}

    def compute(self, fake, real):
        means = [part[Means].total / part[Means].n for part in (fake, real)]
        return {"distance": (means[0] - means[1]).norm().item(), "n": fake[Means].n.item(),
                "index": fake[Means].index.item()}


def evaluation(cache, **settings):
    extractor = settings.pop("extractor", None) or ToyExtractor()
    scores = {"mean": MeanDistance(), **settings.pop("scores", {})}
    return Evaluation(extractor, scores, "mean", cache=str(cache), **{"num_fake": 101} | settings)


def measure(evaluation, data=None, gan=None):
    gan, data = gan or toy_gan(), data or ToyData()
    evaluation.prepare(data)
    evaluation.agree(data)
    fakes = fakes_of(gan, evaluation.num_fake, evaluation.seed, evaluation.reals(data), block=evaluation.block)
    return evaluation.measure(fakes, data)


def named_scores(names):
    from hydra.utils import get_class

    return {name.rpartition(".")[2]: get_class(name)() for name in names}


if __name__ == "__main__":
    rank, world, rendezvous, out, settings = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    settings = json.loads(settings)
    extractor = ToyExtractor(settings.pop("fails_on", None), settings.pop("fails_in", "extract"))
    settings["scores"] = named_scores(settings.pop("scores", []))
    data = ToyData(settings.pop("n", 83))
    result = measure(evaluation(settings.pop("cache"), extractor=extractor, **settings), data)
    with open(out, "w") as file:
        json.dump({"values": result.values(), "reals": {k: s.reals for k, s in result.scores.items()}}, file)
    dist.barrier()
    dist.destroy_process_group()
