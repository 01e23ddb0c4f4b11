"""What an evaluation found: values with what they mean, what reals would get, and what they depend on."""

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from gan_lightning.metrics.extractors.base import Extractor
from gan_lightning.metrics.fingerprint import short
from gan_lightning.metrics.scores.base import Score

ORIGINAL = {"fd": "fid", "cs": "is", "kd": "kid"}
"""Names that belong to the Inception network of 2015 and TensorFlow 1's resize alone."""


@dataclass(frozen=True)
class Scored:
    """One number.

    `reals`: what reals get in place of fakes: the floor of a distance, the ceiling of a quality.
    `higher_is_better`: None if neither is.
    """

    value: float
    reals: float | None
    higher_is_better: bool | None
    fingerprint: dict[str, Any]

    def better_than(self, other: "Scored | None") -> bool:
        """Whether this is an improvement; not if it is no number."""
        if self.value != self.value:
            return False
        if other is None or other.value != other.value:
            return True
        return self.value > other.value if self.higher_is_better else self.value < other.value

    @property
    def id(self) -> str:
        """The fingerprint in short."""
        return short(self.fingerprint)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN: None in its place."""
        numbers = {name: number if number is not None and isfinite(number) else None
                   for name, number in (("value", self.value), ("reals", self.reals))}
        return asdict(self) | numbers | {"id": self.id}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Scored":
        value = float("nan") if content["value"] is None else content["value"]
        return cls(value, content["reals"], content["higher_is_better"], content["fingerprint"])


@dataclass
class Result:
    """Scores by the names they are shown by, the principal one, and pictures that explain them."""

    scores: dict[str, Scored]
    main: str
    deciding: list[str] = field(default_factory=list)  # the principal one, and what decides between equal values of it
    seconds: float = 0.0
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """The numbers by name, the principal one first."""
        names = [self.main, *(name for name in self.scores if name != self.main)]
        return {name: self.scores[name].value for name in names}

    def better_than(self, other: dict[str, Scored]) -> bool:
        """Whether this is an improvement on the deciding scores `other`, measured alike."""
        for name in self.deciding:
            mine, theirs = self.scores[name], other.get(name)
            if theirs is None or mine.value != theirs.value:
                return mine.better_than(theirs)
        return False

    def to_dict(self) -> dict[str, Any]:
        return {"main": self.main, "seconds": round(self.seconds, 2),
                "scores": {name: scored.to_dict() for name, scored in self.scores.items()}}


def shown_name(value: str, score: Score, extractor: Extractor) -> str:
    """`fd` becomes `fid` for the original Inception and `fd_NAME` for any other extractor."""
    if not score.of_features:
        return value
    if extractor.original:
        for ours, published in ORIGINAL.items():
            if value == ours or value.startswith(f"{ours}_"):
                return published + value.removeprefix(ours)
            if value == f"intra_{ours}":
                return f"intra_{published}"
    return f"{value}_{extractor.name}" if extractor.name else value
