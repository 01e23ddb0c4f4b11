"""A run that goes back to an earlier state, as the watchdog's rollback does."""

from pathlib import Path

import lightning as L

from gan_lightning.checkpoint import read_checkpoint


class Undo(L.Callback):
    """Saves after round 2, and after round 4 takes that state again: the clock goes on."""

    def on_train_batch_end(self, trainer, module, *args):
        path = Path(trainer.default_root_dir) / "undo.ckpt"
        if module.steps == 2:
            trainer.save_checkpoint(path)
        if module.steps == 4:
            module.restore(read_checkpoint(path))
