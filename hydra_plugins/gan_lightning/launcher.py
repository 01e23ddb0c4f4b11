"""`hydra/launcher=process`. The work is done in `gan_lightning.sweeps`, which is imported when a sweep runs."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ProcessLauncher(Launcher):
    """Starts each job of a sweep as the plain command, in a process and a folder of its own.

    Args:
        n_jobs: jobs at once.
        gpus_per_job: how many of the visible GPUs each job sees; None: all of them.
    """

    def __init__(self, n_jobs: int = 1, gpus_per_job: int | None = None):
        self.n_jobs, self.gpus_per_job = n_jobs, gpus_per_job
        self.pool: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from gan_lightning.sweeps.pool import ProcessPool

        self.context, self.config = hydra_context, config
        self.pool = ProcessPool.of(config, task_function, self.n_jobs, self.gpus_per_job)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from gan_lightning.sweeps.batch import launch

        return launch(self.pool, self.context, self.config, job_overrides, initial_job_idx)
