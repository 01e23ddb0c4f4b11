"""Do generated images help a classifier? Trained on reals, on fakes and on both, tested on reals it has not seen."""

import logging
from statistics import fmean, stdev

import torch

from gan_lightning.data.sources import Source
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.extractors.classifier_network import accuracy, images_to_see, train
from gan_lightning.metrics.extractors.labelled import Labelled, read
from gan_lightning.randomness import mix

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


def _fakes(source: Source, seed: int) -> Labelled:
    if len(source) and "label" not in source.take(torch.zeros(1, dtype=torch.int64)):
        raise ConfigError("the fakes have no labels, which a classifier learns from: train the generator with "
                          "model.conditional=true on data with labels")
    return read(source, seed)


def _tested(trained_on: Labelled, held_out: Labelled, classes: int, seed: int, device: torch.device,
            seen: int) -> float:
    network = train(trained_on.images, trained_on.label, classes, seed, device, seen)
    return accuracy(network, held_out.images, held_out.label)
