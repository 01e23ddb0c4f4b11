"""What differs between a checkpoint's settings and those of the run that goes on from it."""

from math import isclose
from typing import Any, NamedTuple

OF_MODEL = ("model", "task", "data.resolution", "data.channels", "optim.g._target_", "optim.d._target_")
"""Settings that decide which tensors there are, and what they mean. Labels reach the model through its own settings."""

OF_NO_CONSEQUENCE = ("ckpt_path", "allow_changes", "logger", "callbacks.progress")
"""Settings that are another's in each run, or leave no trace in it."""


class Change(NamedTuple):
    """A setting that differs."""

    setting: str
    was: Any
    now: Any

    @property
    def of_model(self) -> bool:
        """Whether it makes another model. That an average of G comes or goes does; its half-life does not."""
        return _within(self.setting, OF_MODEL) or self.setting == "optim.ema"

    def __str__(self) -> str:
        return f"{self.setting}: {self.was} -> {self.now}"


def changes(was: dict[str, Any], now: dict[str, Any]) -> list[Change]:
    """Those between two resolved configs, in the order of the first.

    Intervals that grew as `max_kimg` did are no change of their own. A setting that only one of them has counts as null
    in the other; a top-level one that only `now` has counts as unchanged, since an older program knew no such thing.
    """
    was = {name: now[name] for name in now if name not in was} | was
    found = [change for change in _compare(was, now, "") if not _within(change.setting, OF_NO_CONSEQUENCE)]
    longer = now["max_kimg"] / was["max_kimg"]
    return [change for change in found if not _follows(change, longer)]


def _compare(was: Any, now: Any, path: str) -> list[Change]:
    if isinstance(was, dict) and isinstance(now, dict):
        names = dict.fromkeys([*was, *now])
        return [change for name in names
                for change in _compare(was.get(name), now.get(name), f"{path}.{name}" if path else name)]
    if was == now:
        return []
    return [Change(path, *("set" if isinstance(value, dict) else value for value in (was, now)))]


def _follows(change: Change, longer: float) -> bool:
    """Whether this is an interval, in kimg, that grew as the run did."""
    if not (change.setting.startswith("callbacks.") and change.setting.endswith(".every_kimg")):
        return False
    return all(isinstance(value, (int, float)) for value in change[1:]) and isclose(change.now, longer * change.was)


def _within(setting: str, groups: tuple[str, ...]) -> bool:
    return any(setting == group or setting.startswith(f"{group}.") for group in groups)
