"""Checkpoints."""

import os
import shutil
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.checkpoint import LAST
from gan_lightning.module import GANModule


class SaveCheckpoint(EveryKimg, Checkpoint):
    """Keeps `checkpoints/last.ckpt` up to date, with the one before it as `previous.ckpt`.

    A state whose losses or weights are not finite is never saved. (Deriving from Lightning's `Checkpoint` makes the
    Trainer call this after all other callbacks.)

    Args:
        keep_every_kimg: also keep `checkpoints/kimg_*.ckpt` for good, this often; null keeps none.
    """

    def __init__(self, every_kimg: float = 50.0, keep_every_kimg: float | None = None):
        super().__init__(every_kimg)
        self.keep_every_kimg = keep_every_kimg

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        module.check_finite()
        last = Path(trainer.default_root_dir) / LAST
        if trainer.is_global_zero and last.exists():
            _link(last, last.with_name("previous.ckpt"))
        trainer.save_checkpoint(last)
        if self.keep_every_kimg and module.crossed(self.keep_every_kimg) and trainer.is_global_zero:
            _link(last, last.with_name(f"kimg_{module.nimg / 1000:010.3f}.ckpt"))


def _link(source: Path, target: Path) -> None:
    """Makes `target` another name of the file `source`, replacing what had it; `source` may be replaced later."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
