"""An Optuna study as a search uses it: trials by number, over restarts and machines."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from math import isfinite
from typing import Any
from zlib import crc32

import optuna
from hydra.utils import instantiate
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.jobs import Outcome
from gan_lightning.sweeps.space import Choices, Parameter
from gan_lightning.sweeps.storage import open_storage

OUTCOME, FOLDER, HOST, SURPLUS, SEARCHES, SCORE = "outcome", "folder", "host", "surplus", "searches", "score"
"""What is kept with a trial (the first four) and with the study."""
KEEP_THEIR_SEED = ("QMCSampler", "GridSampler")
"""Samplers whose trials share a sequence. The others would draw the same again after a restart, or on another machine,
so each draw has a seed of its own, which the sampler's seed, the trial and the setting decide."""


class Study:
    """Trials of one search.

    Args:
        storage: a normalised URL.
        searches: what is searched, in words; a study of that name that searches something else is refused.
        higher_is_better: of the score.
        sampler: node of one of `optuna.samplers`.
    """

    def __init__(self, storage: str, name: str, space: Mapping[str, Parameter], searches: dict[str, Any],
                 higher_is_better: bool, sampler: Mapping[str, Any] | None):
        warnings.filterwarnings("ignore", module="optuna", category=optuna.exceptions.ExperimentalWarning)
        self.storage, self.sampler = open_storage(storage), dict(sampler or {})
        self.space = {key: distribution(key, parameter) for key, parameter in space.items()}
        self.study = optuna.create_study(
            storage=self.storage, study_name=name, direction="maximize" if higher_is_better else "minimize",
            sampler=optuna.samplers.RandomSampler(), load_if_exists=True)
        self.id = self.storage.get_study_id_from_name(name)
        before = self.study.user_attrs.get(SEARCHES)
        if before is not None and before != searches:
            raise ConfigError(f"study {name!r} in {storage} searches something else ({_difference(before, searches)}): "
                              "choose another hydra.sweep.dir (and hydra.sweeper.study, if the storage is shared)")
        if before is None:
            self.study.set_user_attr(SEARCHES, searches)

    def trials(self) -> list[FrozenTrial]:
        """Those that count, in order."""
        return [trial for trial in self.study.get_trials(deepcopy=False)
                if SURPLUS not in trial.user_attrs and trial.state != TrialState.WAITING]

    def unfinished(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def is_unfinished(self, number: int) -> bool:
        return self.storage.get_trial(self._id(number)).state == TrialState.RUNNING

    def new(self, limit: int) -> int | None:
        """The number of a new trial; None if there are `limit` already."""
        if len(self.trials()) >= limit:
            return None
        number = self.study.ask().number
        if sum(trial.number < number for trial in self.trials()) < limit:
            return number
        self.note(number, SURPLUS, True)  # another machine was faster
        self.study.tell(number, state=TrialState.FAIL)
        return None

    def values(self, number: int) -> dict[str, str]:
        """What the trial tries, as values of overrides. Chosen now unless they have been."""
        self.study.sampler = self._sampler(number, "")
        trial, values = Trial(self.study, self._id(number)), {}
        _ = trial.relative_params  # those that a sampler draws together
        for key, choice in self.space.items():
            self.study.sampler = self._sampler(number, key)
            values[key] = written(_suggest(trial, key, choice))
        return values

    def _sampler(self, number: int, key: str) -> optuna.samplers.BaseSampler:
        node = {"_target_": "optuna.samplers.TPESampler"} | self.sampler
        if node.get("seed") is not None and not node["_target_"].endswith(KEEP_THEIR_SEED):
            node["seed"] = crc32(f"{node['seed']} {number} {key}".encode())
        return instantiate(node, _convert_="all")

    def note(self, number: int, name: str, value: Any) -> None:
        """Keeps something with a trial."""
        self.storage.set_trial_user_attr(self._id(number), name, value)

    def tell(self, number: int, outcome: Outcome) -> Outcome:
        """Ends a trial: with its best score; as pruned; or as failed, if it has none. Returns what is kept of it."""
        outcome = self._judged(outcome)
        if not self.is_unfinished(number):
            return outcome
        self.note(number, OUTCOME, asdict(outcome))
        if outcome.state == "pruned":
            self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        elif outcome.state == "failed":
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self.study.tell(number, outcome.best, skip_if_finished=True)
        return outcome

    def _judged(self, outcome: Outcome) -> Outcome:
        """A failure, if its score is none or is not the one that the study compares."""
        if outcome.state not in ("finished", "watchdog"):
            return outcome
        if outcome.best is None or not isfinite(outcome.best):
            return replace(outcome, state="failed", error=outcome.error or "its score was never a number")
        compared = self.study.user_attrs.get(SCORE)
        if compared is None:
            self.study.set_user_attr(SCORE, outcome.score)
        elif compared != outcome.score:
            why = f"its score is {outcome.score}, the study compares {compared}: name the metrics, metrics=random_conv"
            return replace(outcome, state="failed", best=None, error=why)
        return outcome

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)


def distribution(key: str, parameter: Parameter) -> BaseDistribution:
    """The same in Optuna's words."""
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.values)
    if parameter.log and parameter.step is not None:
        raise ConfigError(f"{key}: a logarithmic range has no steps; write tag(log,interval(a,b))")
    if parameter.whole:
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def written(value: Any) -> str:
    """A value of Optuna's as one of an override."""
    return value if isinstance(value, str) else repr(value)


def age(trial: FrozenTrial) -> float:
    """Seconds since the trial began."""
    begin = trial.datetime_start
    return (datetime.now(begin.tzinfo) - begin).total_seconds() if begin else 0.0


def _suggest(trial: Trial, key: str, choice: BaseDistribution) -> Any:
    match choice:
        case CategoricalDistribution():
            return trial.suggest_categorical(key, choice.choices)
        case IntDistribution():
            return trial.suggest_int(key, choice.low, choice.high, step=choice.step, log=choice.log)
    return trial.suggest_float(key, choice.low, choice.high, step=choice.step, log=choice.log)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    for key in before | now:
        if before.get(key) != now.get(key):
            return f"{key} was {before.get(key)}, is {now.get(key)}"
    return ""
