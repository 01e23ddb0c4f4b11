"""Checkpoints."""

import logging
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.checkpoint import LAST, PREVIOUS, rename, replace_by_link
from gan_lightning.checkpoint_io import save
from gan_lightning.metrics.together import on_first
from gan_lightning.module import GANModule

log = logging.getLogger("gan_lightning")
NEW = LAST.with_name(".last.ckpt.new.tmp")  # removed when a run begins


class SaveCheckpoint(EveryKimg, Checkpoint):
    """Keeps `checkpoints/last.ckpt` up to date, with the one before it as `previous.ckpt`.

    A new one is written beside them, whole, before either changes. So a run killed at any moment has both a newest and
    the one before. A state whose losses or weights are not finite is never saved. (Deriving from Lightning's
    `Checkpoint` makes the Trainer call this after all other callbacks.)

    One that the system does not let it write costs a warning, and is tried again at the next interval. Whether the last
    one of a run was written, `failure` says.

    Args:
        keep_every_kimg: also keep `checkpoints/kimg_*.ckpt` for good, this often; null keeps none.
    """

    def __init__(self, every_kimg: float = 50.0, keep_every_kimg: float | None = None):
        super().__init__(every_kimg)
        self.keep_every_kimg = keep_every_kimg
        self.failure: str | None = None  # what a run is told whose last state is not in any file
        self._good = "none had been written before"

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        if trainer.ckpt_path:
            self._good = _good(trainer.ckpt_path, module)

    def on_train_end(self, trainer: L.Trainer, module: GANModule) -> None:
        self._act_once(trainer, module)

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        module.check_finite()
        last = Path(trainer.default_root_dir) / LAST
        reason = self._save(trainer, module, last)
        if reason is None:
            self.failure, self._good = None, _good(last, module)
            return
        self._acted_at = -1
        self.failure = (f"the checkpoint of {module.nimg / 1000:g} kimg cannot be written ({reason}); "
                        f"the last good one: {self._good}")
        if trainer.is_global_zero and not (trainer.should_stop or module.steps >= trainer.max_steps):
            log.warning("%s; tried again in %g kimg", self.failure, self.every_kimg)

    def _save(self, trainer: L.Trainer, module: GANModule, last: Path) -> str | None:
        """Why it was not possible, on all devices."""
        keep = bool(self.keep_every_kimg) and module.crossed(self.keep_every_kimg)
        new = last.with_name(f"kimg_{module.nimg / 1000:010.3f}.ckpt" if keep else NEW.name)
        return save(trainer, new) or on_first(lambda: _move_up(new, last, keep))


def _move_up(new: Path, last: Path, keep: bool) -> str | None:
    """`last` becomes the previous one and `new`, which also stays where it is if `keep`, becomes the last."""
    try:
        if last.exists():
            replace_by_link(last, last.with_name(PREVIOUS.name))
        if keep:
            replace_by_link(new, last)
        else:
            rename(new, last)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _good(path: str | Path, module: GANModule) -> str:
    return f"{path} ({module.nimg / 1000:g} kimg)"
