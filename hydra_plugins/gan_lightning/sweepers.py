"""`hydra/sweeper=grid` and `hydra/sweeper=optuna`. The work is done in `gan_lightning.sweeps`."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _Sweeper(Sweeper):
    def __init__(self, **settings: Any):
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config


class GridSweeper(_Sweeper):
    """Runs every combination of the values that are given in lists.

    Args:
        params: lists, as on the command line, which wins: `{seed: "1,2,3"}`.
    """

    def __init__(self, params: dict[str, Any] | None = None):
        super().__init__(params=params or {})

    def sweep(self, arguments: list[str]) -> Any:
        from gan_lightning.sweeps.grid import Grid

        return Grid(self.hydra_context, self.config, self.task_function, **self.settings).run(arguments)


class OptunaSweeper(_Sweeper):
    """Searches ranges for the settings with the best score.

    Args:
        params: lists and ranges, as on the command line, which wins: `{optim.g.lr: "tag(log,interval(1e-5,1e-2))"}`.
        n_trials: of the whole study: over restarts and machines, failed and pruned ones counted.
        sampler: node of the class that chooses values, such as `optuna.samplers.TPESampler`.
        pruner: node of the class that ends bad trials early, such as `optuna.pruners.MedianPruner`; None: never.
        prune_after: share of a run before which no trial is ended.
        storage: of the study: journal:///FILE, sqlite:///FILE, postgresql://... None: a journal in the sweep's folder.
        study: its name in the storage.
        batch: trials started together by launchers other than `process`.
    """

    def __init__(self, params: dict[str, Any] | None = None, n_trials: int = 20, sampler: object = None,
                 pruner: object = None, prune_after: float = 0.2, storage: str | None = None, study: str = "sweep",
                 batch: int = 1):
        super().__init__(params=params or {}, n_trials=n_trials, sampler=sampler, pruner=pruner,
                         prune_after=prune_after, storage=storage, study=study, batch=batch)

    def sweep(self, arguments: list[str]) -> Any:
        from gan_lightning.sweeps.search import Search

        return Search(self.hydra_context, self.config, self.task_function, **self.settings).run(arguments)
