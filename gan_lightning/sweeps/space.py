"""What a sweep tries: lists and ranges of settings, in Hydra's syntax."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from gan_lightning.errors import ConfigError


@dataclass(frozen=True)
class Choices:
    """One of some values, as they stand in an override."""

    values: tuple[str, ...]

    @property
    def corners(self) -> tuple[str, ...]:
        return self.values


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included, whole if these are.

    `log`: evenly on a logarithmic scale. `step`: between the numbers that are allowed; None: any number is.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    values: tuple[str, ...] = ()  # if there is a step

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def corners(self) -> tuple[str, ...]:
        return repr(self.low), repr(self.high)


Parameter = Choices | Range


@dataclass(frozen=True)
class Space:
    """`fixed`: overrides that all jobs share. `swept`: by key, as it stands in an override (`+x.y` included)."""

    fixed: list[str]
    swept: dict[str, Parameter]


def read(params: Mapping[str, Any], arguments: Sequence[str], loader: ConfigLoader | None = None) -> Space:
    """The space that YAML (`params`) and the command line describe; the command line wins.

    Raises:
        HydraException: not Hydra's syntax.
        ConfigError: a range that cannot be.
    """
    lines = [f"{key}={value}" for key, value in params.items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*lines, *arguments])
    last = {(o.key_or_group, o.package): o for o in parsed if not o.is_delete()}
    kept = [o for o in parsed if o.is_delete() or last[o.key_or_group, o.package] is o]
    swept = {o.get_key_element(): _parameter(o) for o in kept if o.is_sweep_override()}
    return Space([o.input_line or "" for o in kept if not o.is_sweep_override()], swept)


def _parameter(override: Override) -> Parameter:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(override, value.start, value.end, "log" in value.tags)
    before = random.getstate()
    random.seed(0)  # shuffle() must give the same order when the sweep goes on
    values = tuple(dict.fromkeys(override.sweep_string_iterator()))
    random.setstate(before)
    if not values:
        raise ConfigError(f"{override.input_line}: there is no such value")
    if isinstance(value, RangeSweep) and len(values) > 1:
        numbers = sorted(value.range())
        return Range(numbers[0], numbers[-1], "log" in value.tags, abs(value.step), values)
    return Choices(values)


def _interval(override: Override, low: float, high: float, log: bool) -> Range:
    if not low < high:
        raise ConfigError(f"{override.input_line}: the first number must be below the second")
    if log and low <= 0:
        raise ConfigError(f"{override.input_line}: a logarithmic range begins above 0")
    return Range(low, high, log)
