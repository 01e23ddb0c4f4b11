"""Every combination of lists: `python train.py -m seed=1,2 loss=hinge,wgan_gp`."""

from collections import deque
from itertools import product
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.base import Sweep, near
from gan_lightning.sweeps.jobs import Job, outcome, plural
from gan_lightning.sweeps.pool import WAIT
from gan_lightning.sweeps.space import Range, read
from gan_lightning.sweeps.table import Row

MANY = 30  # jobs; to check their settings takes a fifth of a second each


class Grid(Sweep):
    """The sweep behind `hydra/sweeper=grid`.

    Its jobs are numbered in the order of the lists, the last one fastest. Those whose folder says that they are done
    are left alone, so the same command with the same `hydra.sweep.dir` goes on.
    """

    def __init__(self, context: HydraContext, config: DictConfig, task: TaskFunction, params: dict[str, Any]):
        super().__init__(context, config, task)
        self.params = params
        self.jobs: list[Job] = []

    def run(self, arguments: list[str]) -> list[Row]:
        """Runs the jobs that `arguments` describe. Errors: see `Sweep.finish`; ConfigError before any job runs."""
        fixed = self._list(arguments)
        pool = self.pool()
        done = sum(outcome(job.folder).done for job in self.jobs)
        n_jobs = getattr(pool, "n_jobs", 1)
        self.begin(plural(len(self.jobs), "job") + (f", {n_jobs} at once" if n_jobs > 1 else "")
                   + (f", {done} of them done" if done else ""))
        waiting = deque(job for job in self.jobs if not outcome(job.folder).done)

        def take() -> Job | str | None:
            for _ in range(len(waiting)):
                job = waiting.popleft()
                job.claim = self.claims.take(job.folder)
                if job.claim is None:  # another sweep runs it, or what it left behind
                    waiting.append(job)
                elif outcome(job.folder).done:
                    job.claim.release()
                else:
                    self.started(job)
                    return job
            return WAIT if waiting else None

        return self.finish(pool.run(take, self.ended), fixed)

    def rows(self) -> list[Row]:
        return [Row(job.number, job.swept, str(job.folder), outcome(job.folder)) for job in self.jobs]

    def _list(self, arguments: list[str]) -> list[str]:
        """Fills `jobs`, all of them checked; returns the overrides that they share."""
        space = read(self.params, arguments, self.context.config_loader)
        for key, parameter in space.swept.items():
            if isinstance(parameter, Range) and not parameter.values:
                raise ConfigError(f"{key}: an interval has no end of values; write a list or range(a,b,step), or "
                                  "search it by hydra/sweeper=optuna")
        self.swept = space.swept
        lists = [parameter.values for parameter in space.swept.values()]
        combinations = list(product(*lists))
        if len(combinations) > MANY:
            print(f"checking the settings of {len(combinations)} jobs", flush=True)
        for number, values in enumerate(combinations):
            swept = dict(zip(space.swept, values, strict=True))
            overrides = [*space.fixed, *(f"{key}={value}" for key, value in swept.items())]
            job = Job(number, overrides, swept)
            self.composer.check(job)
            self._check_folder(job)
            self.jobs.append(job)
        return space.fixed

    def _check_folder(self, job: Job) -> None:
        if any(job.folder == other.folder for other in self.jobs):
            raise ConfigError(f"hydra.sweep.subdir: two jobs have the folder {near(job.folder)}; leave it out")
        self.check_folder(job)
