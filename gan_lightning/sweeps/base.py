"""What a grid and a search share: where a sweep lies, how its jobs run, and what it says."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.sweeps.claims import Claims
from gan_lightning.sweeps.command import quoted, shown
from gan_lightning.sweeps.composing import Composer, refuse_torchrun
from gan_lightning.sweeps.files import write_text
from gan_lightning.sweeps.jobs import CHECKPOINTS, LOG, Job, Outcome, record
from gan_lightning.sweeps.pool import LauncherPool, ProcessPool
from gan_lightning.sweeps.space import Parameter
from gan_lightning.sweeps.table import BEST, PICTURE, TABLE, Row, printed, ranked, write_table
from gan_lightning.writing import Writing

SHARE_OF_DRAWING = 0.02  # of the time that a sweep spends


class Sweep:
    """Runs jobs and keeps the table and the picture of them up to date.

    A subclass says which jobs there are (`run`) and what is known of all of them (`rows`).
    """

    def __init__(self, context: HydraContext, config: DictConfig, task: TaskFunction):
        refuse_torchrun()
        self.context, self.config, self.task = context, config, task
        self.composer = Composer(context, config)
        self.folder = self.composer.folder
        self.claims = Claims()
        self.swept: dict[str, Parameter] = {}
        self._next_drawing = 0.0
        self._writing = Writing("the table of the sweep")

    def rows(self) -> list[Row]:
        """All jobs of the sweep, in order."""
        raise NotImplementedError

    def pool(self, batch: int | None = None) -> ProcessPool | LauncherPool:
        """What runs the jobs. `batch`: how many at once, if another launcher of Hydra's does."""
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=self.task, config=self.config)
        return getattr(launcher, "pool", None) or LauncherPool(launcher, batch)

    def begin(self, what: str) -> None:
        """Makes the folder. Not before all configs are known to be right."""
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        print(f"{near(self.folder)}: {what}", flush=True)

    def check_folder(self, job: Job) -> None:
        """Raises ConfigError if the job's folder holds another one, whose checkpoint and score are not this one's."""
        there = record(job.folder)
        if there and set(there["overrides"]) != set(job.overrides):
            differing = sorted(set(there["overrides"]) ^ set(job.overrides))
            raise ConfigError(f"{near(job.folder)} holds another job (not both have {' '.join(differing[:4])}): choose "
                              "another hydra.sweep.dir")

    def started(self, job: Job) -> None:
        """Says what a job is, in one line."""
        going_on = " goes on" if (job.folder / CHECKPOINTS).exists() else ""
        print(f"#{job.number}{going_on}: {job.title}", flush=True)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Says what came of it, in one line, and brings table and picture up to date."""
        seconds = f" in {outcome.seconds:,.0f} s" if outcome.seconds else ""
        score = f", {outcome.score} {outcome.best:.4g}" if outcome.best is not None else ""
        why = f": {outcome.error}{see_log(job.folder)}" if outcome.error else ""
        print(f"#{job.number} {outcome.state}{seconds}{score}{why}", flush=True)
        self.update()

    def update(self, last: bool = False) -> None:
        """Writes sweep.csv, and sweep.png unless that was lately; a full disk ends no sweep."""
        rows = self.rows()
        self._writing.attempt(lambda: write_table(self.folder / TABLE, rows))
        if any(row.scored for row in rows) and (last or time.monotonic() > self._next_drawing):
            from gan_lightning.sweeps.figure import draw

            begin = time.monotonic()
            self._writing.attempt(lambda: draw(self.folder / PICTURE, rows, self.swept))
            self._next_drawing = time.monotonic() + (time.monotonic() - begin) / SHARE_OF_DRAWING

    def finish(self, stopped: int | None, fixed: Sequence[str]) -> list[Row]:
        """Table, picture, and what to type next.

        Args:
            stopped: the exit code that a signal asked for; None if the sweep is through.
            fixed: the overrides that all jobs share.

        Raises:
            SystemExit: a signal ended it.
            UserError: a job failed.
        """
        self.update(last=True)
        rows = self.rows()
        print("\n".join(self._words(rows, stopped, fixed)), flush=True)
        if stopped is not None:
            raise SystemExit(stopped)
        self.verdict(rows)
        return rows

    def verdict(self, rows: list[Row]) -> None:
        """Raises UserError if this is not what one wanted."""
        unfinished = [row for row in rows if not row.outcome.done]
        if unfinished:
            raise UserError(f"{len(unfinished)} of {len(rows)} jobs did not finish: "
                            + ", ".join(f"#{row.number}" for row in unfinished))

    def _words(self, rows: list[Row], stopped: int | None, fixed: Sequence[str]) -> list[str]:
        states = Counter(row.outcome.state for row in rows)
        lines = ["", printed(rows), f"jobs      {', '.join(f'{n} {state}' for state, n in states.items())}"]
        lines += [f"{what:9} {near(self.folder / name)}" for what, name in (("table", TABLE), ("picture", PICTURE))
                  if (self.folder / name).exists()]
        if best := ranked(rows)[:1]:
            lines += [f"best      {self._save_best(best[0], fixed)}"]
        if len({row.outcome.fingerprint for row in rows if row.scored}) > 1:
            lines += ["note      scores were not all measured alike: see the column fingerprint"]
        lines += [f"failed    #{row.number}: {row.outcome.error}{see_log(Path(row.folder))}" for row in rows
                  if row.outcome.state == "failed"]
        if stopped is not None:
            again = [override for override in sys.argv[1:] if not override.startswith("hydra.sweep.dir=")]
            again.append(f"hydra.sweep.dir={quoted(str(near(self.folder)))}")
            lines += [f"stopped   {shown(again, with_flags=False)}   goes on"]
        return lines

    def _save_best(self, row: Row, fixed: Sequence[str]) -> str:
        """Writes best.yaml; returns the command that runs the best job again."""
        overrides = self.composer.to_repeat([*fixed, *(f"{key}={value}" for key, value in row.swept.items())])
        command = shown(overrides)
        content: dict[str, Any] = {"number": row.number, "score": row.outcome.score, "best": row.outcome.best,
                                   "folder": row.folder, "overrides": overrides, "command": command}
        write_text(self.folder / BEST, OmegaConf.to_yaml(OmegaConf.create(content)))
        return command


def see_log(folder: Path) -> str:
    """Where a job's words are, if they are in its folder."""
    return f" (see {near(folder / LOG)})" if folder.name and (folder / LOG).exists() else ""


def near(path: Path) -> Path:
    """`path` as a person at the present directory would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
