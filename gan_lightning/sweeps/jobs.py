"""A job of a sweep: one run in a folder of its own, and what that folder tells of it."""

import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan_lightning.stopping import CODES
from gan_lightning.sweeps.files import write_text

RECORD, LOG, LOCK, SUMMARY, CHECKPOINTS = "job.json", "log.txt", "job.lock", "summary.json", "checkpoints"
DONE = ("finished", "watchdog", "pruned")
"""What a run's summary says of one that need not be run again."""
TOLD_TO_STOP = (*CODES.values(), *(128 + number for number in CODES), *(-number for number in CODES))
"""Exit codes of a job that a signal ended, after saving or before it could."""


@dataclass
class Job:
    """One run of a sweep.

    `overrides`: all settings of it. `swept`: those in which jobs differ, by their keys. `more`: what this start adds.
    """

    number: int
    overrides: list[str]
    swept: dict[str, str]
    folder: Path = Path()
    more: list[str] = field(default_factory=list)
    claim: Any = None  # a `Claim`, while it runs

    @property
    def title(self) -> str:
        return " ".join(f"{key}={short(value)}" for key, value in self.swept.items()) or "the only one"

    def begin(self, requeued: bool = False) -> None:
        """Makes the folder ready. A run that was cut short goes on from its checkpoint, or begins anew without one.

        Args:
            requeued: whether it may be cut short, and start again, behind our back.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        before = record(self.folder)
        chosen = any(override.startswith("ckpt_path=") for override in self.overrides)
        if any((self.folder / CHECKPOINTS).glob("*.ckpt")) or (requeued and not chosen):
            self.more = [*self.more, "ckpt_path=last"]
        else:
            (self.folder / SUMMARY).unlink(missing_ok=True)
        self._note(state="running", host=socket.gethostname(), error=None, seconds=before.get("seconds", 0.0))

    def end(self, code: int, error: str | None, seconds: float) -> "Outcome":
        """Notes how an attempt ended: its exit code, what it said if it failed, and how long it took."""
        ended = load(self.folder / SUMMARY).get("ended")
        if ended in DONE:
            state, error = ended, error if ended == "watchdog" else None
        elif code == 0:
            state, error = "finished", None
        else:
            state = "interrupted" if code in TOLD_TO_STOP else "failed"
        total = record(self.folder).get("seconds", 0.0) + seconds
        self._note(state=state, error=error if state != "interrupted" else None, seconds=round(total, 1))
        return outcome(self.folder)

    def _note(self, **values: Any) -> None:
        content = {"number": self.number, "overrides": self.overrides} | values
        write_text(self.folder / RECORD, json.dumps(content, indent=2) + "\n")


@dataclass(frozen=True)
class Outcome:
    """What came of a job. `state`: waiting, running, interrupted, failed, or one of DONE.

    `best`, `last`, `reals`: of the principal `score`. `kimg`: that were trained.
    """

    state: str = "waiting"
    score: str | None = None
    best: float | None = None
    last: float | None = None
    reals: float | None = None
    higher_is_better: bool | None = None
    fingerprint: str | None = None
    kimg: float | None = None
    seconds: float | None = None
    error: str | None = None

    @property
    def done(self) -> bool:
        return self.state in DONE


def record(folder: Path) -> dict[str, Any]:
    """What a sweep noted of the job in `folder`; empty if none has run there."""
    return load(folder / RECORD)


def outcome(folder: Path) -> Outcome:
    """What the files in a job's folder tell."""
    noted, summary = record(folder), load(folder / SUMMARY)
    if not noted:
        return Outcome()
    state = summary["ended"] if summary.get("ended") in DONE else noted["state"]
    scores, best = summary.get("scores") or {}, summary.get("best") or {}
    main = scores.get("scores", {}).get(scores.get("main"), {})
    return Outcome(state, best.get("score") or scores.get("main"), best.get("value"), main.get("value"),
                   main.get("reals"), main.get("higher_is_better"), best.get("fingerprint"), summary.get("kimg"),
                   summary.get("wall_seconds") or noted.get("seconds"), noted.get("error"))


def plural(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def short(value: str) -> str:
    """A number with four digits, as people read them; anything else as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    return value if len(value) <= 7 else f"{number:.4g}"


def load(path: Path) -> dict[str, Any]:
    """A mapping from JSON; empty if there is no such file."""
    for attempt in range(2):
        try:
            return json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        except OSError:  # a network disk, where another machine replaced the file meanwhile
            if attempt:
                raise
