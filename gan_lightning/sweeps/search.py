"""A search for the settings with the best score, by Optuna: `python train.py hparams_search=optuna_tpe`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException, InstantiationException
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lightning.config.check import check_node
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.sweeps.base import Sweep, near
from gan_lightning.sweeps.command import literal
from gan_lightning.sweeps.jobs import Job, Outcome, outcome, plural
from gan_lightning.sweeps.pool import WAIT
from gan_lightning.sweeps.space import Space, read
from gan_lightning.sweeps.storage import need_optuna, normalised
from gan_lightning.sweeps.table import Row

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from gan_lightning.sweeps.study import Study

PRUNING = "gan_lightning.callbacks.pruning.Pruning"
UNBORN_SECONDS = 60.0  # a trial that has no folder after this long was left by a sweep that was killed


class Search(Sweep):
    """The sweep behind `hydra/sweeper=optuna`; its settings are those of `OptunaSweeper`.

    A trial runs until the study knows its end. One that a killed sweep left running is taken up again, in its folder,
    by the next sweep that has the study and sees that nobody holds the folder. So no trial is lost and none runs twice.
    """

    def __init__(self, context: HydraContext, config: DictConfig, task: TaskFunction, params: dict[str, Any],
                 n_trials: int, sampler: Any, pruner: Any, prune_after: float, storage: str | None, study: str,
                 batch: int):
        super().__init__(context, config, task)
        need_optuna()
        check_node(config, "hydra.sweeper")
        for name, value in (("n_trials", n_trials), ("batch", batch)):
            if value < 1:
                raise ConfigError(f"hydra.sweeper.{name}={value}: must be at least 1")
        if not 0 <= prune_after <= 1:
            raise ConfigError(f"hydra.sweeper.prune_after={prune_after}: must be from 0 to 1")
        self.params, self.n_trials, self.name, self.batch = params, n_trials, study, batch
        self.sampler, self.pruner = _plain(sampler), _plain(pruner)
        self.prune_after, self.storage = prune_after, normalised(storage, self.folder)
        self.space = Space([], {})
        self.study: Study | None = None
        self._mine: set[int] = set()  # running here, or left by choice

    def run(self, arguments: list[str]) -> list[Row]:
        """Runs trials until the study has `n_trials`.

        Raises:
            ConfigError: before any trial runs.
            SystemExit: a signal ended it.
            UserError: no trial has a score.
        """
        higher = self._check(arguments)
        pool = self.pool(self.batch)
        from optuna.exceptions import OptunaError

        try:
            self._open(higher)
            return self.finish(pool.run(self._take, self._ended), self.space.fixed)
        except OptunaError as error:  # a database that went away
            reason = " ".join(str(error).split())
            raise UserError(f"{self.storage}: {reason}; hydra.sweep.dir={near(self.folder)} goes on") from error

    def _open(self, higher: bool) -> None:
        from gan_lightning.sweeps.study import Study

        ranges = {key: repr(parameter) for key, parameter in self.swept.items()}
        searches = {"settings": sorted(self.space.fixed), **ranges}
        self.study = Study(self.storage, self.name, self.swept, searches, higher, self.sampler)
        there = len(self.study.trials())
        self.begin(plural(self.n_trials, "trial") + (f", {there} of them begun" if there else ""))

    def verdict(self, rows: list[Row]) -> None:
        if not any(row.scored for row in rows):
            raise UserError(f"none of {len(rows)} trials has a score; the first says: "
                            f"{next((row.outcome.error for row in rows if row.outcome.error), 'nothing')}")

    # Before any trial runs

    def _check(self, arguments: list[str]) -> bool:
        """Checks the ends of all ranges; returns whether higher scores are better."""
        space = read(self.params, arguments, self.context.config_loader)
        if not space.swept:
            raise ConfigError("nothing to search: give a range, such as 'optim.g.lr=tag(log,interval(1e-5,1e-3))', or "
                              "hparams_search=optuna_tpe, which has some")
        first = {key: parameter.corners[0] for key, parameter in space.swept.items()}
        others = [{key: value} for key, parameter in space.swept.items() for value in parameter.corners[1:]]
        self.space, self.swept = space, space.swept
        run = self.composer.check(Job(0, _overrides(space.fixed, first), {}))
        score = _principal_score(run)
        for other in others:
            self.composer.check(Job(0, _overrides(space.fixed, first | other), other))
        for node in (self.sampler, self.pruner):
            _try(node)
        return bool(next(iter(get_class(score).values.values())))  # imports torch

    # Which trial is next

    def _take(self) -> Job | str | None:
        wait = False
        for trial in self.study.unfinished():
            if trial.number not in self._mine:
                job = self._take_up(trial)
                if isinstance(job, Job):
                    return self._start(job)
                wait |= job == WAIT
        while (number := self.study.new(self.n_trials)) is not None:
            if (job := self._make(number)) == WAIT:
                return WAIT
            if job is not None:
                return self._start(job)
        return WAIT if wait else None

    def _start(self, job: Job) -> Job:
        self._mine.add(job.number)
        pruning = {"_target_": PRUNING, "storage": self.storage, "study": self.name, "trial": job.number,
                   "pruner": self.pruner, "after": self.prune_after}
        job.more = [f"+callbacks.pruning={literal(pruning)}"]
        self.started(job)
        return job

    def _make(self, number: int, folder: Path | None = None) -> Job | str | None:
        """The job of a trial, in a folder that is claimed; None if it cannot be run, which ends the trial; WAIT if
        another machine has the folder."""
        from gan_lightning.sweeps.study import FOLDER, HOST

        values = self.study.values(number)
        job = Job(number, _overrides(self.space.fixed, values), values)
        try:
            self.composer.check(job)
        except (ConfigError, HydraException, OmegaConfBaseException) as error:
            failed = Outcome("failed", error=" ".join(str(error).split()))
            self.study.tell(number, failed)
            self.ended(job, failed)
            return None
        job.folder = folder or job.folder
        if folder is None:
            self.check_folder(job)  # it may be left from another study
            job.claim = self.claims.take(job.folder)
            if job.claim is None:
                return WAIT  # another machine was quicker
            self.study.note(number, HOST, self.claims.host)
            self.study.note(number, FOLDER, str(job.folder))
        return job

    def _take_up(self, trial: "FrozenTrial") -> Job | str | None:
        """The job of a trial that another sweep began, if nobody runs it; WAIT if it may yet need to be run here."""
        from gan_lightning.sweeps.study import FOLDER, HOST, age

        if FOLDER not in trial.user_attrs:
            return WAIT if age(trial) < UNBORN_SECONDS else self._make(trial.number)
        here, folder = trial.user_attrs[HOST] == self.claims.host, Path(trial.user_attrs[FOLDER])
        if not here and not folder.exists():
            return None  # on a disk of another machine
        claim = self.claims.take(folder)
        if claim is None:
            return WAIT if here or not self.claims.elsewhere(folder) else None
        there = outcome(folder)
        job = None
        if self.study.is_unfinished(trial.number):
            if there.done or there.state == "failed":  # the sweep was killed before it could say so
                self.study.tell(trial.number, there)
            else:
                job = self._make(trial.number, folder)
        if job is None:
            claim.release()
        else:
            job.claim = claim
        return job

    # What came of them

    def _ended(self, job: Job, ended: Outcome) -> None:
        if ended.state != "interrupted":  # which stays unfinished, for the next sweep
            ended = self.study.tell(job.number, ended)
            self._mine.discard(job.number)
        self.ended(job, ended)

    def rows(self) -> list[Row]:
        from gan_lightning.sweeps.study import FOLDER, OUTCOME, written

        rows = []
        for trial in self.study.trials():
            folder, kept = trial.user_attrs.get(FOLDER, ""), trial.user_attrs.get(OUTCOME)
            known = Outcome(**kept) if kept else outcome(Path(folder)) if folder else Outcome("running")
            values = {key: written(trial.params[key]) for key in self.swept if key in trial.params}
            rows.append(Row(trial.number, values, folder, known))
        return rows


def _overrides(fixed: list[str], values: dict[str, str]) -> list[str]:
    return [*fixed, *(f"{key}={value}" for key, value in values.items())]


def _principal_score(run: DictConfig) -> str:
    """The class of the score that a search compares."""
    metrics = run.get("metrics")
    if metrics is None or "scores" not in metrics or "main" not in metrics:
        raise ConfigError("a search needs a score, and these metrics give none during training: choose metrics=auto, "
                          "or another that conf/metrics has")
    score = metrics.scores.get(metrics.main)
    if score is None:
        raise ConfigError(f"metrics.main={metrics.main}: must be one of the scores: {', '.join(metrics.scores)}")
    return score._target_


def _try(node: dict[str, Any] | None) -> None:
    """Raises ConfigError if the object that `node` describes cannot be made."""
    try:
        instantiate(node)
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"hydra.sweeper: {node['_target_']}: {reason}") from error


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
