"""What is wrong with a sweep is said in one line, before any job runs."""

import sys

import pytest

from gan_lightning import cli


@pytest.mark.parametrize("arguments, message", [
    (["-m", "seed=1,2", "optim.g.lr=1e-3,fast"], "optim.g.lr=fast: must be a number (seed=1 optim.g.lr=fast)"),
    (["-m", "optim.g.lr=interval(0.1,1)"], "optim.g.lr: an interval has no end of values"),
    (["-m", "seed=1,2", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: must be an integer from 1 on"),
    (["-m", "seed=1,2", "hydra.launcher.njobs=2"], "no setting 'hydra.launcher.njobs' - did you mean 'hydra.launcher.n_jobs'?"),
    (["hparams_search=optuna_tpe", "metrics=none"], "a search needs a score"),
    (["hparams_search=optuna_tpe", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be at least 1"),
    (["hparams_search=optuna_tpe", "hydra.sweeper.pruner.n_startup=2"], "no setting 'hydra.sweeper.pruner.n_startup'"),
    (["-m", "hydra/sweeper=optuna", "model.z_dim=8,9.5"], "model.z_dim=9.5: must be an integer"),
    (["hparams_search=optuna_tpe", "hydra.sweeper.storage=x.db"], "hydra.sweeper.storage=x.db: must be journal:///FILE"),
    (["-m", "hydra/sweeper=optuna"], "nothing to search"),
], ids=lambda value: value[-1] if isinstance(value, list) else "")
def test_mistakes_are_found_before_anything_runs(monkeypatch, tmp_path, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.train()
    output, errors = capfd.readouterr()
    assert (stop.value.code, output) == (2, "") and errors.startswith("error: ") and errors.count("\n") == 1
    assert message in errors
    assert list(tmp_path.iterdir()) == []
