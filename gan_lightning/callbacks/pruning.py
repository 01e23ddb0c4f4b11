"""Ends a trial of a search that does worse than others did."""

import logging
from typing import Any

import lightning as L

from gan_lightning.callbacks.scores import Scores
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.together import on_first
from gan_lightning.module import GANModule
from gan_lightning.sweeps.storage import need_optuna, open_storage

log = logging.getLogger("gan_lightning")


class Pruning(L.Callback):
    """Reports the principal score of each evaluation to an Optuna study, and ends the run if its pruner says so.

    A search gives it to its trials by itself. The first process reports and decides for all. What a study calls a step
    is the multiple of `metrics.every_kimg` that was passed, in images: trials whose rounds differ in length pass the
    same ones.

    Args:
        storage: of the study, as `gan_lightning.sweeps.storage` has it.
        study: its name.
        trial: the number of this run.
        pruner: one of `optuna.pruners`; None only reports.
        after: share of the run before which it is not ended.
    """

    def __init__(self, storage: str, study: str, trial: int, pruner: object = None, after: float = 0.2):
        need_optuna()
        self.storage, self.study, self.trial, self.pruner, self.after = storage, study, trial, pruner, after
        self._scores: Scores | None = None
        self._study: Any = None
        self._reported = -1

    def setup(self, trainer: L.Trainer, module: GANModule, stage: str) -> None:
        self._scores = next((callback for callback in trainer.callbacks if isinstance(callback, Scores)), None)
        if self._scores is None:
            raise ConfigError("callbacks.pruning needs a score, and metrics=none measures nothing; choose metrics=auto")

    def on_train_batch_end(self, trainer: L.Trainer, module: GANModule, *args: Any) -> None:
        last = self._scores.last
        if last is None or round(last["kimg"] * 1000) != module.nimg or module.nimg == self._reported:
            return
        self._reported = module.nimg
        score = last["scores"][last["main"]]["value"]
        images = self._scores.every_kimg * 1000
        step = round(module.nimg // images * images)
        worse = on_first(lambda: self._report(float("nan") if score is None else score, step))
        if worse and self.after <= module.steps / trainer.max_steps < 1:
            if trainer.is_global_zero:
                print(f"pruned at {module.nimg / 1000:g} kimg: other trials had a better {last['main']} than {score}",
                      flush=True)
            module.stopped, trainer.should_stop = "pruned", True

    def _report(self, score: float, step: int) -> bool:
        """Whether the study's pruner would end the trial. A study out of reach is no reason to lose a run."""
        try:
            import optuna

            if self._study is None:
                sampler = optuna.samplers.RandomSampler()  # never asked, and cheaper than the default
                self._study = optuna.load_study(study_name=self.study, storage=open_storage(self.storage),
                                                sampler=sampler)
            storage = self._study._storage
            trial = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, self.trial)
            if step not in storage.get_trial(trial).intermediate_values:  # a resumed run passes some again
                storage.set_trial_intermediate_value(trial, step, score)
            return self.pruner is not None and self.pruner.prune(self._study, storage.get_trial(trial))
        except Exception as error:  # noqa: BLE001 - locks, networks, disks
            log.warning("cannot report to %s: %s", self.storage, " ".join(str(error).split()))
            return False
