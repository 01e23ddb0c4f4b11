"""How far images move on a walk through latent space: perceptual path length."""

import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.base import ImageData, Split
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.cache import digest
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.extractors.base import exact
from gan_lightning.metrics.generated import Generated
from gan_lightning.metrics.lpips import LPIPS, Distance
from gan_lightning.metrics.result import Result, Scored
from gan_lightning.randomness import check_seed, mix

CHOICES = {"sampling": ("full", "end"), "interpolation": ("auto", "slerp", "lerp")}


class PathLength:
    """`metrics=path_length` of evaluate.py: E[d(G(z_t), G(z_(t + epsilon))) / epsilon^2], lower is better.

    (Karras et al. 2019, arXiv:1812.04948, sec. 4.1.) z_t lies at t on the way between two latents, d is LPIPS, which
    is of second order in the step already. Short paths: images change by little where latents do, as they should
    where no image has to fade through others that are not in the data. No real is looked at.

    With sampling=end and interpolation=lerp, this is what torch-fidelity computes from images that are not rounded
    to whole grey levels, which would hide most of a step of 1e-4. Generator and distance work in float32, as theirs do:
    rounding moves single pairs by some 1e-4 of their value, and the mean by less.

    Args:
        num_fake: pairs of latents; the paper takes 100,000.
        epsilon: the step, as a share of the way.
        sampling: t ~ U(0, 1), or "end": t = 0, where latents are as the generator was trained on.
        interpolation: between latents; "auto": on the great circle (slerp) for normal and spherical ones, and straight
            for uniform ones.
        discard_lowest: percent of the distances that are left out, at least, for being the smallest.
        discard_highest: the same for the largest.
        resize: images to this many pixels a side before they are compared; None: as they are.
        split: of the reals whose classes the samples follow; None: the one that is trained on.
    """

    def __init__(self, num_fake: int = 10_000, epsilon: float = 1e-4, sampling: Literal["full", "end"] = "full",
                 interpolation: Literal["auto", "slerp", "lerp"] = "auto", discard_lowest: float = 1.0,
                 discard_highest: float = 1.0, resize: int | None = 64, split: Split | None = None, seed: int = 0,
                 block: int = 64):
        for name, value in (("num_fake", num_fake), ("block", block)):
            if value < 1:
                raise ConfigError(f"metrics.{name}={value}: must be at least 1")
        if not 0 < epsilon < 1:
            raise ConfigError(f"metrics.epsilon={epsilon}: must be between 0 and 1; the paper takes 1e-4")
        for name, value in (("sampling", sampling), ("interpolation", interpolation)):
            if value not in CHOICES[name]:
                raise ConfigError(f"metrics.{name}={value}: must be one of {', '.join(CHOICES[name])}")
        for name, value in (("discard_lowest", discard_lowest), ("discard_highest", discard_highest)):
            if not 0 <= value < 50:
                raise ConfigError(f"metrics.{name}={value}: must be from 0 to below 50, in percent")
        check_seed(seed)
        self.num_fake, self.epsilon, self.sampling, self.interpolation = num_fake, epsilon, sampling, interpolation
        self.discard = discard_lowest, discard_highest
        self.split, self.seed, self.block = split, seed, block
        self.distance = LPIPS(resize)

    def prepare(self, data: ImageData, device: torch.device | str = "cpu", fake_classes: int | None = None) -> None:
        """Raises ConfigError for points, and UserError where LPIPS is not to be had."""
        if (data.channels, data.resolution) == (2, 1):
            raise ConfigError("metrics=path_length compares images, and these data are points; choose metrics=mixture")
        self.distance.check(data.channels, data.resolution)
        self.distance.prepare()

    def agree(self, data: ImageData) -> None:
        """One process alone does this."""

    def reals(self, data: ImageData) -> ImageSet:
        """The reals whose classes the samples follow."""
        source = data.source(self.split)
        return ImageSet(source, torch.arange(len(source)), data.num_classes)

    def measure(self, fakes: ImageSet, data: ImageData, device: torch.device | str = "cpu",
                generator: dict[str, Any] | None = None) -> Result:
        """The mean over pairs, and their standard deviation. Of `fakes`, labels and count are used, and who made them.

        Raises:
            ConfigError: `fakes` are images, and no generator's samples.
            UserError: a distance is not a finite number.
        """
        begin = time.monotonic()
        source = fakes.source
        if not isinstance(source, Generated):
            raise ConfigError("metrics=path_length walks through a generator's latents, which a folder of images does "
                              "not have: give ckpt=RUN instead of fake=DIR")
        lengths = torch.cat(list(self._lengths(source, len(fakes.indices), torch.device(device))))
        lengths = lengths[:len(fakes.indices)].numpy()
        if not np.isfinite(lengths).all():
            raise UserError("path lengths are infinite or not a number: the generator's images contain NaN, or its "
                            "weights are damaged")
        kept = within(lengths, *self.discard)
        made_of = self._made_of(source, len(lengths), generator) | {"split": self.split or data.split}
        scores = {"path_length": Scored(float(kept.mean()), None, False, made_of),
                  "path_length_std": Scored(float(kept.std()), None, None, made_of)}
        return Result(scores, "path_length", seconds=time.monotonic() - begin)

    def _lengths(self, source: Generated, n: int, device: torch.device) -> Iterator[Tensor]:
        """Float64 (block,) for each block; always whole, so that the last one is computed like any other."""
        with self.distance.loaded(device) as distance, source.gan.evaluating(), exact(device):
            for start in range(0, n, self.block):
                yield self._block(source, range(start, start + self.block), distance)

    def _block(self, source: Generated, numbers: range, distance: Distance) -> Tensor:
        task, network = source.gan.task, source.gan.network
        given = None if source.label is None else source.label[torch.tensor(numbers).clamp(max=source.n - 1)]
        first = task.sample_batch(numbers, mix(source.seed, 1), given, source.truncation)
        second = task.sample_batch(numbers, mix(source.seed, 2), given, source.truncation)
        t = self._times(numbers, mix(source.seed, 3))
        way = lerp if self._interpolation(source) == "lerp" else slerp
        weight = next(network.parameters())
        kept = {name: value.to(weight.device) for name, value in first.items() if name != "z"}  # label: of both ends
        images = []
        for at in (t, t + self.epsilon):
            z = way(first["z"].double(), second["z"].double(), at)
            source.gan.number_noise(numbers, source.seed)    # the same at both ends
            images.append(task.generate({**kept, "z": z.to(weight.device, weight.dtype)}, network))
        return distance(*images).cpu().double() / self.epsilon**2

    def _times(self, numbers: range, seed: int) -> Tensor:
        """Where on its way each pair is: float64 (b, 1), functions of (seed, number)."""
        if self.sampling == "end":
            return torch.zeros(len(numbers), 1, dtype=torch.float64)
        generator = torch.Generator()
        return torch.stack([torch.rand(1, generator=generator.manual_seed(mix(seed, i)), dtype=torch.float64)
                            for i in numbers])

    def _interpolation(self, source: Generated) -> str:
        if self.interpolation != "auto":
            return self.interpolation
        return "lerp" if source.gan.task.latent == "uniform" else "slerp"

    def _made_of(self, source: Generated, n: int, generator: dict[str, Any] | None) -> dict[str, Any]:
        """The fingerprint. Of the data, nothing but the labels that samples were given matters."""
        labels = "" if source.label is None else digest({"labels": source.label.tolist()})
        score = {"score": type(self).__name__, "epsilon": self.epsilon, "sampling": self.sampling,
                 "interpolation": self._interpolation(source), "discard": list(self.discard)}
        return {"data": labels, "num_real": 0, "num_fake": n, "seed": source.seed,
                "extractor": self.distance.fingerprint(), "generator": generator or {}, "score": score}


def within(values: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """`values` without those below the `lowest` percentile and above the one `highest` percent from the end.

    Between two values, the outer one is the percentile: at 1 % of 100 or fewer, none is left out. (torch-fidelity's
    rule.)
    """
    low = np.percentile(values, lowest, method="lower")
    high = np.percentile(values, 100 - highest, method="higher")
    return values[(low <= values) & (values <= high)]


def lerp(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """The point at t (b, 1) on the straight line between z and z, (b, z_dim) each."""
    return first + (second - first) * t


def slerp(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """The point at t (b, 1) on the arc between z and z, (b, z_dim) each (Shoemake 1985); lengths in between change too.

    Where the directions are equal or opposite there is no one arc: the straight line is taken.
    """
    norms = first.norm(dim=1, keepdim=True) * second.norm(dim=1, keepdim=True)
    cosine = (first * second).sum(1, keepdim=True) / norms.clamp_min(1e-12)
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    arc = (((1 - t) * angle).sin() * first + (t * angle).sin() * second) / sine.clamp_min(1e-12)
    return torch.where((cosine.abs() > 1 - 1e-7) | (norms == 0), lerp(first, second, t), arc)
