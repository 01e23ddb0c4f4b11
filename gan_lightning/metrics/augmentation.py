"""Do generated images help a classifier? Trained on reals, on fakes and on both, tested on reals it has not seen."""

import logging
import time
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.sources import Source
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.extractors.classifier_network import RECIPE, accuracy, images_to_see, train
from gan_lightning.metrics.extractors.labelled import Labelled, read, without_labels
from gan_lightning.metrics.fingerprint import data_hash
from gan_lightning.metrics.result import Result, Scored
from gan_lightning.randomness import check_seed, mix

log = logging.getLogger("gan_lightning")
TRAINED_ON = ("real", "fake", "both")


def augmentation_accuracies(real: Source, fake: Source, held_out: Source, seed: int, device: torch.device,
                            seeds: int = 3) -> dict[str, float]:
    """Accuracy on `held_out` reals after training on reals, on fakes, and on both joined.

    accuracy_fake is the classification accuracy score (Ravuri & Vinyals 2019, arXiv:1905.10887; GAN-train of Shmelkov
    et al. 2018, arXiv:1807.09499); accuracy_both above accuracy_real means that the fakes help as augmentation. Each
    is a mean over `seeds` trainings, its standard deviation beside it as spread_real and so on (0 for one). All see as
    many images, those that the larger set asks for: more fakes must not mean more training. The network is that of
    `classifier_network`; of sets beyond 60,000 images, 60,000 are read.

    Raises:
        ConfigError: labels are missing, or the images of the three sets differ in shape.
    """
    if seeds < 1:
        raise ConfigError(f"seeds={seeds}: must be at least 1")
    found = {"real": read(real, seed), "fake": _fakes(fake, seed), "held_out": read(held_out, seed)}
    height, width = found["real"].images.shape[-2:]
    if height != width:
        raise ConfigError(f"metrics=augmentation: its classifier looks at square images, not at {width} x {height}; "
                          "give resolution=N to crop and resize them")
    shapes = {name: tuple(part.images.shape[1:]) for name, part in found.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ConfigError(f"reals, fakes and held-out reals must have the same channels and sizes, not {listed}")
    classes = max(int(part.label.max()) for part in found.values()) + 1
    both = (torch.cat(pair) for pair in zip(found["real"][:2], found["fake"][:2], strict=True))
    found["both"] = Labelled(*both, hash="")
    seen = images_to_see(len(found["both"].images))
    result = {}
    for name in TRAINED_ON:
        reached = [_tested(found[name], found["held_out"], classes, mix(seed, i), device, seen) for i in range(seeds)]
        result[f"accuracy_{name}"] = fmean(reached)
        result[f"spread_{name}"] = stdev(reached) if seeds > 1 else 0.0
        log.info("classifier trained on %s: %.1f %% of held-out images right", name, 100 * fmean(reached))
    return result


class Augmentation:
    """`metrics=augmentation` of evaluate.py: `augmentation_accuracies` of a generator's samples, or a folder's images.

    Tested on the set's test split; if it has none, on a tenth of each class that classifiers do not see (but that the
    generator may have: train it with data.holdout=0.2 or the like for a fair answer).

    Args:
        num_fake: samples; None: as many as there are reals to train on.
        seeds: classifiers of each kind.
    """

    def __init__(self, num_fake: int | None = None, seeds: int = 3, split: Split = "train", seed: int = 0,
                 block: int = 64):
        for name, value in (("num_fake", num_fake), ("seeds", seeds), ("block", block)):
            if value is not None and value < 1:
                raise ConfigError(f"metrics.{name}={value}: must be at least 1")
        check_seed(seed)
        self.num_fake, self.seeds, self.split, self.seed, self.block = num_fake, seeds, split, seed, block

    def prepare(self, data: ImageData, device: torch.device | str = "cpu", fake_classes: int | None = None) -> None:
        """Raises ConfigError for data or fakes without labels; finds out how many samples to draw."""
        if not data.num_classes:
            raise without_labels()
        if fake_classes == 0:
            raise unlabelled_fakes()
        if self.num_fake is None:
            self.num_fake = len(self._parts(data)[0].indices)

    def agree(self, data: ImageData) -> None:
        """One process alone does this."""

    def reals(self, data: ImageData) -> ImageSet:
        """The reals whose classes the samples follow."""
        return self._parts(data)[0]

    def measure(self, fakes: ImageSet, data: ImageData, device: torch.device | str = "cpu",
                generator: dict[str, Any] | None = None) -> Result:
        """Accuracies with the spread beside each; what reals get is the accuracy after training on reals."""
        begin = time.monotonic()
        real, held_out, tested_on = self._parts(data)
        found = augmentation_accuracies(_Part(real), _Part(fakes), _Part(held_out), self.seed, torch.device(device),
                                        self.seeds)
        made_of = {"data": data_hash(real.source, real.indices), "num_real": len(real.indices), "split": self.split,
                   "extractor": {"name": "classifiers of its own", "recipe": RECIPE}, "num_fake": len(fakes.indices),
                   "seed": self.seed, "generator": generator or {}, "tested_on": tested_on,
                   "reals": "reals: what training on reals alone gives",
                   "score": {"score": type(self).__name__, "seeds": self.seeds}}
        scores = {name: Scored(value, found["accuracy_real"] if name.startswith("accuracy") else None,
                               True if name.startswith("accuracy") else None, made_of)
                  for name, value in found.items()}
        return Result(scores, "accuracy_both", seconds=time.monotonic() - begin)

    def _parts(self, data: ImageData) -> tuple[ImageSet, ImageSet, str]:
        """Reals to train on, reals to test on, and where those are from."""
        source = data.source(self.split)
        try:
            test = data.source("test")
            if self.split != "test":
                everything, all_of_test = torch.arange(len(source)), torch.arange(len(test))
                return (ImageSet(source, everything, data.num_classes), ImageSet(test, all_of_test, data.num_classes),
                        "test split")
        except UserError:  # there is none
            pass
        train_on, test_on = Labelled(torch.empty(0), source.label, "").split(self.seed)
        return (ImageSet(source, train_on, data.num_classes), ImageSet(source, test_on, data.num_classes),
                f"a tenth of the {self.split} split")


class _Part:
    """Some images of a source, as a source."""

    def __init__(self, images: ImageSet):
        self.source, self.indices = images.source, images.indices

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        return self.source.take(self.indices[indices])


def _fakes(source: Source, seed: int) -> Labelled:
    if len(source) and "label" not in source.take(torch.zeros(1, dtype=torch.int64)):
        raise unlabelled_fakes()
    return read(source, seed)


def unlabelled_fakes() -> ConfigError:
    return ConfigError("the fakes have no labels, which a classifier learns from: train the generator with "
                       "model.conditional=true on data with labels")


def _tested(trained_on: Labelled, held_out: Labelled, classes: int, seed: int, device: torch.device,
            seen: int) -> float:
    network = train(trained_on.images, trained_on.label, classes, seed, device, seen)
    return accuracy(network, held_out.images, held_out.label)
