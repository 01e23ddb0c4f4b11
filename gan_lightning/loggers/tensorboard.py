"""TensorBoard."""

from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class TensorBoard(TensorBoardLogger):
    """Writes to `save_dir`. The x axis counts images, so TensorBoard's own "12.8k" reads as 12.8 kimg."""

    def __init__(self, save_dir: str):
        super().__init__(save_dir, name="", version="", default_hp_metric=False)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any], metrics: dict | None = None, step: int | None = None) -> None:
        super().log_hyperparams(params, metrics, step)

    @rank_zero_only
    def go_on_from(self, rows: list[dict[str, float]], nimg: int) -> None:
        """TensorBoard no longer shows what came after the checkpoint: it comes again."""
        self._kwargs["purge_step"] = nimg + 1 if nimg else 0

    @rank_zero_only
    def log_picture(self, name: str, pixels: np.ndarray, kimg: float, nimg: int) -> None:
        self.experiment.add_image(name, pixels, nimg, dataformats="HWC")
