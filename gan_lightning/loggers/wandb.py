"""Weights & Biases."""

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class Wandb(WandbLogger):
    """A W&B run whose x axis is kimg. `WANDB_MODE=offline` needs no network and no account.

    Args:
        project, name: as W&B shows them; name null lets W&B choose.
        save_dir: where W&B keeps its files.
        id: of the run to go on with; a resumed training takes it from the checkpoint.
    """

    continues = "wandb"
    """Under this name a checkpoint keeps the run's id."""

    def __init__(self, project: str = "gan_lightning", name: str | None = None, save_dir: str = ".",
                 id: str | None = None, tags: list[str] | None = None):
        super().__init__(project=project, name=name, save_dir=save_dir, id=id, tags=tags, resume="allow")
        self._axis_is_set = False

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._axis_is_set:
            self.experiment.define_metric("kimg")
            self.experiment.define_metric("*", step_metric="kimg")
            self._axis_is_set = True
        # W&B's own step counts rows: it must never go back, and a resumed run would make kimg do so.
        self.experiment.log(dict(metrics))

    @rank_zero_only
    def log_picture(self, name: str, pixels: np.ndarray, kimg: float, nimg: int) -> None:
        import wandb

        # uint8 (H, W, 3): W&B casts floats without scaling, and shows them black.
        self.experiment.log({name: wandb.Image(pixels), "kimg": kimg})
