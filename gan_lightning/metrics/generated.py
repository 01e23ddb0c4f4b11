"""A generator's samples as a set of images like any other."""

from typing import Any

import torch
from torch import Tensor

from gan_lightning.errors import UserError
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.networks.noise import Mode
from gan_lightning.pictures import to_uint8
from gan_lightning.sampling import GAN


class Generated:
    """Samples 0 to n - 1 of a seed, as a `Source`: sample i depends on the weights, the seed and i alone.

    They are computed in blocks that begin at multiples of `block`, always whole, so that not even rounding depends on
    how many are asked for, or by how many processes. Images are uint8, rounded by `to_uint8`; points stay float32.

    Args:
        labels: (n,) int64, the class of each; None draws classes evenly. Ignored by generators that take none.
    """

    def __init__(self, gan: GAN, n: int, seed: int = 0, labels: Tensor | None = None, truncation: float | None = None,
                 block: int = 64):
        self.gan, self.n, self.seed, self.truncation, self.block = gan, n, seed, truncation, block
        self.label = labels if gan.num_classes else None

    def __len__(self) -> int:
        return self.n

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples with these numbers; cheapest if they are a block."""
        numbers = indices.tolist()
        blocks = sorted({number // self.block for number in numbers})
        with self.gan.evaluating():
            drawn = {b: self._draw(b) for b in blocks}
        place = {b: i * self.block for i, b in enumerate(blocks)}
        rows = torch.tensor([place[number // self.block] + number % self.block for number in numbers])
        joined = {name: torch.cat([drawn[b][name] for b in blocks]) for name in drawn[blocks[0]]}
        return {name: values[rows.to(values.device)] for name, values in joined.items()}

    def _draw(self, block: int) -> dict[str, Tensor]:
        numbers = range(block * self.block, (block + 1) * self.block)
        given = None if self.label is None else self.label[torch.tensor(numbers).clamp(max=self.n - 1)]
        samples, labels = self.gan.draw(numbers, self.seed, given, self.truncation)
        if samples.isnan().any():
            raise UserError(f"samples {numbers.start} to {numbers.stop} of the generator contain NaN: nothing to score")
        batch = {"real": to_uint8(samples) if samples.ndim == 4 else samples.float()}
        return batch if labels is None else batch | {"label": labels}


def fakes_of(gan: GAN, n: int, seed: int, reals: ImageSet, truncation: float | None = None,
             block: int = 64) -> ImageSet:
    """`n` samples to be compared with `reals`: of a generator that takes labels, with the frequencies of theirs."""
    labels = labels_like(_labels(reals), n, seed) if gan.num_classes else None
    source = Generated(gan, n, seed, labels, truncation, block)
    return ImageSet(source, torch.arange(n), gan.num_classes)


def scored_noise(gan: GAN) -> Mode:
    """The noise that published scores are of: new for each sample, where a generator has any."""
    return "random" if gan.has_noise else "const"


def made_by(gan: GAN, truncation: float | None = None, standing: int = 0) -> dict[str, Any]:
    """How samples are drawn, for the fingerprint of their scores."""
    made = {"averaged": gan.averaged, "batch_norm": f"standing {standing}" if standing else "running",
            "truncation": truncation}
    if gan.psi is not None:
        made["psi"] = gan.psi
    if gan.has_noise:
        made["noise"] = gan.noise
    return made


def _labels(reals: ImageSet) -> Tensor | None:
    labels = reals.source.label if reals.classes else None
    return None if labels is None else labels.cpu()[reals.indices]


def labels_like(labels: Tensor | None, n: int, seed: int) -> Tensor | None:
    """`n` labels with the frequencies of `labels` (N,), label i being a function of (seed, i) and these."""
    if labels is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    return labels.cpu()[torch.randint(len(labels), (n,), generator=generator)]
