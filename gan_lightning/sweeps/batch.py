"""`hydra/launcher=process` under Hydra's own sweepers, which hand over all jobs at once."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig

from gan_lightning.errors import UserError
from gan_lightning.sweeps.composing import Composer
from gan_lightning.sweeps.jobs import LOG, Job, Outcome
from gan_lightning.sweeps.pool import ProcessPool


def launch(pool: ProcessPool, context: HydraContext, config: DictConfig, overrides: Sequence[Sequence[str]],
           first: int) -> list[JobReturn]:
    """Runs the jobs numbered from `first` on; what a job returns is its best score."""
    composer = Composer(context, config)
    shared = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    jobs = [Job(first + i, list(given), dict(one.partition("=")[::2] for one in given if one not in shared))
            for i, given in enumerate(overrides)]
    for job in jobs:
        composer.check(job)
    outcomes: dict[int, Outcome] = {}
    waiting = iter(jobs)
    stopped = pool.run(lambda: next(waiting, None), lambda job, outcome: outcomes.update({job.number: outcome}))
    if stopped is not None:
        raise SystemExit(stopped)
    return [_returned(job, outcomes[job.number]) for job in jobs]


def _returned(job: Job, outcome: Outcome) -> JobReturn:
    failed = not outcome.done
    value = UserError(f"{outcome.error or outcome.state}; see {job.folder / LOG}") if failed else outcome.best
    return JobReturn(overrides=job.overrides, working_dir=str(job.folder), _return_value=value,
                     status=JobStatus.FAILED if failed else JobStatus.COMPLETED)
