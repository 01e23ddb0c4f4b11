"""Storages, and trials over restarts and machines."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.sweeps.jobs import Outcome
from gan_lightning.sweeps.space import read
from gan_lightning.sweeps.storage import need_optuna, normalised, open_storage
from gan_lightning.sweeps.study import OUTCOME, Study

RANDOM = {"_target_": "optuna.samplers.RandomSampler", "seed": 5}
TPE = {"_target_": "optuna.samplers.TPESampler", "seed": 5, "n_startup_trials": 2}
SPACE = read({}, ["loss=hinge,wgan", "lr=tag(log,interval(1e-5,1e-2))", "k=int(interval(1,5))"]).swept


@pytest.fixture
def opened(tmp_path):
    def open_study(sampler=RANDOM, storage="journal", higher=False, searches=None, name="s") -> Study:
        url = f"{storage}:///{tmp_path}/study.{storage}"
        return Study(url, name, SPACE, {"settings": ["a=1"]} if searches is None else searches, higher, sampler)

    return open_study


def finished(value, score="fd"):
    return Outcome("finished", score, value, value, 0.1, False)


@pytest.mark.parametrize("url, named", [
    (None, "journal:////sweep/study.log"), ("journal:///x.log", "journal:///{here}/x.log"),
    ("journal:////a/b.log", "journal:////a/b.log"), ("sqlite:///x.db", "sqlite:///{here}/x.db"),
    ("postgresql://host/name", "postgresql://host/name"),
])
def test_every_process_finds_the_storage(url, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert normalised(url, Path("/sweep")) == named.format(here=tmp_path)


@pytest.mark.parametrize("url", ["file.db", "journal:x.log", "journal:///", "sqlite://x.db", "sqlite:///"])
def test_storages_that_there_are_not(url):
    with pytest.raises(ConfigError, match="hydra.sweeper.storage="):
        normalised(url, Path("/sweep"))


@pytest.mark.parametrize("url", ["sqlite:////proc/no/x.db", "nosuch://host/name", "journal:////proc/no/x.log"])
def test_storages_that_cannot_be_opened(url):
    with pytest.raises(UserError, match="hydra.sweeper.storage=.*: cannot be opened: ") as error:
        open_storage(url)
    assert "\n" not in str(error.value)


def test_without_optuna(monkeypatch):
    need_optuna()
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'gan_lightning\[sweep\]'"):
        need_optuna()


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_trials_end_as_they_should(opened, storage):
    study = opened(storage=storage)
    outcomes = [finished(2.0), Outcome("pruned", "fd", 5.0), Outcome("failed", error="e"), finished(None), finished(1.0, "other"),
                finished(float("nan")), Outcome("watchdog", "fd", 3.0, error="collapse")]
    kept = [study.tell(study.new(99), outcome) for outcome in outcomes]
    states = ["COMPLETE", "PRUNED", "FAIL", "FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert [trial.state.name for trial in study.trials()] == states
    assert [outcome.state for outcome in kept] == ["finished", "pruned", *["failed"] * 4, "watchdog"]
    assert "its score is other, the study compares fd" in kept[4].error
    assert study.study.best_value == 2.0
    assert [Outcome(**trial.user_attrs[OUTCOME]).best for trial in opened(storage=storage).trials()][:2] == [2.0, 5.0]
    assert study.tell(0, finished(9.0)) and study.study.best_value == 2.0  # once told, it stays


@pytest.mark.parametrize("higher, best", [(False, 1.0), (True, 2.0)])
def test_direction(opened, higher, best):
    study = opened(higher=higher)
    for value in (2.0, 1.0):
        study.tell(study.new(9), finished(value))
    assert study.study.best_value == best


@pytest.mark.parametrize("sampler", [RANDOM, TPE])
def test_values_do_not_depend_on_restarts(opened, tmp_path, sampler):
    """A study that is opened anew for each trial, and killed while a trial is being made, equals an uninterrupted one."""
    whole = opened(sampler, name="whole")
    wanted = []
    for i in range(8):
        wanted.append(whole.values(whole.new(8)))
        whole.tell(i, finished(float(i % 3)))
    for i in range(8):
        study = opened(sampler, name="parts")
        number = study.new(8)
        half = dict(list(study.space.items())[: i % 3])
        study.space, every = half, study.space
        study.values(number)
        study = opened(sampler, name="parts")
        assert study.values(number) == wanted[i] == study.values(number)
        assert study.space == every
        study.tell(number, finished(float(i % 3)))
    assert len({tuple(values.items()) for values in wanted}) == 8  # none is tried twice
    assert opened(sampler, name="parts").new(8) is None
    other = opened(sampler | {"seed": 6}, name="other")
    assert other.values(other.new(1)) != wanted[0]


def test_machines_share_the_trials(opened):
    """Four at once, each with the study open for itself: together they make exactly as many as were asked for."""

    def machine(_):
        study, mine = opened(), []
        while (number := study.new(12)) is not None:
            mine.append((number, tuple(study.values(number).items())))
            study.tell(number, finished(1.0))
        return mine

    opened()
    with ThreadPoolExecutor(4) as pool:
        made = [trial for trials in pool.map(machine, range(4)) for trial in trials]
    assert len(made) == len({number for number, _ in made}) == len({values for _, values in made}) == 12
    assert len(opened().trials()) == 12
    assert opened().new(12) is None and opened().new(13) is not None


def test_a_study_of_something_else_is_refused(opened):
    opened()
    opened()
    with pytest.raises(ConfigError, match=r"settings was \['a=1'\], is \['a=2'\].*choose another hydra.sweep.dir"):
        opened(searches={"settings": ["a=2"]})
    opened(searches={"settings": ["a=2"]}, name="t")


def test_optunas_own_runs_see_the_same_study(opened, tmp_path):
    """Anything that reads Optuna's storages, such as its dashboard, can read ours."""
    study = opened(storage="sqlite")
    values = study.values(study.new(1))
    study.tell(0, finished(4.0))
    (trial,) = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/study.sqlite").trials
    assert trial.value == 4.0 and {key: str(value) for key, value in trial.params.items()} == values
