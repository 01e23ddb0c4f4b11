"""An evaluation: which scores, through which extractor, on how many images; during training and after."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData, Split
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.collecting import ImageSet, choose, collect, stored
from gan_lightning.metrics.extractors.base import Extract, Extractor
from gan_lightning.metrics.fingerprint import data_hash
from gan_lightning.metrics.reference import Reference
from gan_lightning.metrics.result import Result, Scored, shown_name
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.statistics.base import Plan
from gan_lightning.metrics.statistics.collected import Collected
from gan_lightning.metrics.together import on_first, together
from gan_lightning.randomness import check_seed


class Evaluation:
    """One pass of one extractor over the fakes feeds all scores. A value depends on weights, data and these settings.

    Args:
        scores: by name; None leaves one out.
        main: the name of the score that chooses the best checkpoint, by its first number.
        num_fake: how many samples of the generator.
        num_real: how many reals, chosen by lot; None takes the whole split.
        split: of the reals; None: the one that is trained on.
        seed: of the latents.
        every_kimg: how often during training, in thousand images; None: twenty times in a run.
        block: images at once. It changes rounding, and so the seventh digit; memory is why one would.
        cache: folder of what is known of reals; None: see `gan_lightning.metrics.cache`.
    """

    def __init__(self, extractor: Extractor, scores: dict[str, Score | None], main: str, num_fake: int = 10_000,
                 num_real: int | None = None, split: Split | None = None, seed: int = 0,
                 every_kimg: float | None = None, block: int = 64, cache: str | None = None):
        self.extractor, self.scores = extractor, {name: score for name, score in scores.items() if score is not None}
        self.main, self.num_fake, self.num_real, self.split = main, num_fake, num_real, split
        self.seed, self.every_kimg, self.block, self.cache = seed, every_kimg, block, Cache(cache)
        self._reference: tuple[Any, Reference] | None = None
        check_seed(seed)
        if main not in self.scores:
            names = ", ".join(self.scores) or "none is left"
            raise ConfigError(f"metrics.main={main}: must be one of the scores: {names}")
        if next(iter(self.scores[main].values.values())) is None:
            raise ConfigError(f"metrics.main={main}: has no better and worse; choose another, such as frechet")
        for name, value in (("num_fake", num_fake), ("num_real", num_real), ("block", block)):
            if value is not None and value < 1:
                raise ConfigError(f"metrics.{name}={value}: must be at least 1")
        if every_kimg is not None and every_kimg <= 0:
            raise ConfigError(f"metrics.every_kimg={every_kimg}: must be above 0; metrics=none switches scores off")

    def prepare(self, data: ImageData, device: torch.device | str = "cpu", fake_classes: int | None = None) -> None:
        """Gets the extractor ready and checks what can be. On one process of each machine, before any time is spent.

        Args:
            fake_classes: of the fakes' labels, 0 if they will have none; None: as many as the reals'.

        Raises:
            UserError: weights that cannot be had, data that the extractor or a score cannot work with.
        """
        self.extractor.prepare(data, self.cache, torch.device(device))
        self._bind(data)
        self.check(data, fake_classes=fake_classes)

    def agree(self, data: ImageData) -> None:
        """Makes every process see through the first one's extractor. All of them must call it."""
        self.extractor.adopt(on_first(self.extractor.state))
        self._bind(data)

    def check(self, data: ImageData, num_fake: int | None = None, fake_classes: int | None = None) -> None:
        """Raises ConfigError for sets that cannot be scored."""
        self.extractor.check(data.channels, data.resolution)
        n = len(self._chosen(data))
        classes = data.num_classes
        for score in self.scores.values():
            score.check(self._plan(num_fake or self.num_fake, classes if fake_classes is None else fake_classes),
                        self._plan(n, classes))

    def measure(self, fakes: ImageSet, data: ImageData, device: torch.device | str = "cpu",
                generator: dict[str, Any] | None = None) -> Result:
        """All scores of `fakes` against the reals of `data`. All processes must call it, after `agree`.

        Args:
            generator: what the fingerprint says about how the fakes came to be.
        """
        begin, device = time.monotonic(), torch.device(device)
        on_first(lambda: self.check(data, len(fakes.indices), fakes.classes))
        reference = self.reference(data, device)
        plan = self._plan(len(fakes.indices), fakes.classes)
        fake = Collected(plan, self._kinds(), _arithmetic(device), fakes.images)
        with self._extract(device) as extract:
            collect(fakes, extract, [fake], block=self.block)
        result = on_first(lambda: self._result(reference, generator or {}, fake.plan.n, fake))
        result.seconds = time.monotonic() - begin
        return result

    def floors(self, data: ImageData, device: torch.device | str = "cpu") -> Result:
        """What reals get in place of fakes: of each score, one half of the reals against the other."""
        begin = time.monotonic()
        reference = self.reference(data, torch.device(device))
        result = on_first(lambda: self._result(reference, {"reals": True}, self.num_fake))
        result.seconds = time.monotonic() - begin
        return result

    def reference(self, data: ImageData, device: torch.device | str = "cpu") -> Reference:
        """What is known of the reals: from this object, else from the cache, else by a pass over them."""
        if self._reference is None or self._reference[0] is not data:
            reals, split = self.reals(data), self.split or data.split
            made_of = {"data": data_hash(reals.source, reals.indices), "num_real": len(reals.indices),
                       "split": split, "extractor": self.extractor.fingerprint()}
            plan = self._plan(len(reals.indices), reals.classes)
            reference = Reference(plan, made_of, self.cache, _arithmetic(torch.device(device)), reals.images)
            missing = reference.find(self._kinds(of_reals=True))
            if missing:
                with self._extract(torch.device(device)) as extract:
                    reference.make(missing, reals, extract, self.block)
            self._reference = data, reference
        return self._reference[1]

    def reals(self, data: ImageData) -> ImageSet:
        """The reals that fakes are compared with."""
        return stored(data.source(self.split), self._chosen(data), data.num_classes)

    def _result(self, reference: Reference, generator: dict[str, Any], n: int, fake: Collected | None = None) -> Result:
        """The scores of `fake`, or without it those of the reals' halves for `n` fakes."""
        common = reference.made_of | {"num_fake": n, "seed": self.seed, "generator": generator}
        result = Result({}, "")
        for name, score in self.scores.items():
            floor = reference.floor(score, n)
            values = score.compute(fake, reference.whole) if fake else floor
            if fake:
                result.pictures |= score.pictures(fake, reference.whole)
            for short_name, value in values.items():
                shown = shown_name(short_name, score, self.extractor)
                result.scores[shown] = Scored(float(value), floor.get(short_name), score.values[short_name],
                                              common | {"score": score.settings()})
                if name == self.main:
                    result.main = result.main or shown
                    result.deciding += [shown] if score.values[short_name] is not None else []
        return result

    @contextmanager
    def _extract(self, device: torch.device) -> Iterator[Extract]:
        """The extractor on every process, or an error on every one."""
        with ExitStack() as stack:
            yield together(lambda: stack.enter_context(self.extractor.loaded(device)))

    def _bind(self, data: ImageData) -> None:
        if self.extractor.automatic and not self.extractor.logits:
            self.scores = {name: score for name, score in self.scores.items() if not score.needs_logits}
            if self.main not in self.scores:
                raise ConfigError(f"metrics.main={self.main}: needs an extractor that tells classes apart, and "
                                  f"{self.extractor.name} does not; choose metrics.main={next(iter(self.scores))}")
        for score in self.scores.values():
            score.bind(data, self.extractor)

    def _plan(self, n: int, classes: int) -> Plan:
        return Plan(n, self.extractor.dim, self.extractor.logits, classes)

    def _kinds(self, of_reals: bool = False) -> list[type]:
        more = [kind for score in self.scores.values() for kind in score.reads_of_reals] if of_reals else []
        return list(dict.fromkeys([kind for score in self.scores.values() for kind in score.reads] + more))

    def _chosen(self, data: ImageData) -> Tensor:
        what = f"metrics.num_real={self.num_real}: the {self.split or data.split} split"
        return choose(len(data.source(self.split)), self.num_real, what)


def _arithmetic(device: torch.device) -> torch.device:
    """Where sums are kept: on `device`, if it has float64."""
    return torch.device("cpu") if device.type == "mps" else device
