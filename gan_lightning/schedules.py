"""Values that change over training: functions of `nimg`, the real images seen so far."""

from collections.abc import Callable
from math import cos, pi

from gan_lightning.errors import ConfigError


class Constant:
    """`value`, always."""

    def __init__(self, value: float = 1.0):
        self.value = value

    def __call__(self, nimg: int) -> float:
        return self.value


class _Ramp:
    def __init__(self, start: float = 1.0, end: float = 0.0, kimg: float = 1000.0, from_kimg: float = 0.0):
        if kimg <= from_kimg:
            raise ConfigError(f"a schedule must end after it starts: kimg={kimg} is not above from_kimg={from_kimg}")
        self.start, self.end, self.kimg, self.from_kimg = start, end, kimg, from_kimg

    def _progress(self, nimg: int) -> float:
        t = (nimg / 1000 - self.from_kimg) / (self.kimg - self.from_kimg)
        return min(max(t, 0.0), 1.0)


class Linear(_Ramp):
    """`start` until `from_kimg`, then straight to `end` at `kimg`, then `end`."""

    def __call__(self, nimg: int) -> float:
        return self.start + (self.end - self.start) * self._progress(nimg)


class Cosine(_Ramp):
    """`start` until `from_kimg`, then along half a cosine to `end` at `kimg`, then `end`."""

    def __call__(self, nimg: int) -> float:
        return self.end + (self.start - self.end) * (1 + cos(pi * self._progress(nimg))) / 2


def at(value: float | Callable[[int], float], nimg: int) -> float:
    """`value` itself, or its value at `nimg` if it is a schedule."""
    return value(nimg) if callable(value) else value
