"""Pictures of samples from fixed latents, so that successive ones can be compared."""

from pathlib import Path

import lightning as L
import numpy as np
import torch

from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.module import GANModule
from gan_lightning.pictures import picture, save_png
from gan_lightning.sampling import GAN
from gan_lightning.shares import whole
from gan_lightning.writing import Writing


class Samples(EveryKimg):
    """Writes `samples/kimg_*.png`, and the same to every logger that takes pictures.

    With labels, each column is a class; points are drawn over reals.

    Args:
        n: samples in the picture.
    """

    def __init__(self, every_kimg: float = 20.0, n: int = 100):
        super().__init__(every_kimg)
        self.n = n
        self._writing = Writing("samples/*.png")

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        super().on_train_start(trainer, module)
        if module.nimg == 0:
            self._act_once(trainer, module)

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        module.check_finite()  # on all devices, before one of them goes on alone
        with whole(module.sampler):
            pixels = self._draw(trainer, module) if trainer.is_global_zero else None
        if pixels is None:
            return
        kimg = module.nimg / 1000
        path = Path(trainer.default_root_dir) / "samples" / f"kimg_{kimg:010.3f}.png"
        self._writing.attempt(lambda: save_png(path, pixels))
        for logger in trainer.loggers:
            if hasattr(logger, "log_picture"):
                logger.log_picture("samples", pixels, kimg, module.nimg)

    def _draw(self, trainer: L.Trainer, module: GANModule) -> np.ndarray:
        # Sampling needs no random numbers of the run's own, so taking pictures changes no weight.
        gan = GAN(module.task, module.sampler, module.config)
        columns = classes = gan.num_classes if 0 < gan.num_classes <= min(20, self.n) else 0
        n = self.n - self.n % classes if classes else self.n
        labels = torch.arange(n) % classes if classes else None
        samples = gan.sample(n, seed=module.seed, label=labels)
        if samples.ndim == 2:  # points are small: ten times as many make a picture
            return picture(gan.sample(10 * n, seed=module.seed), reals=self._reals(trainer))
        return picture(samples, columns or None)

    def _reals(self, trainer: L.Trainer) -> torch.Tensor:
        source = trainer.datamodule.data.source()
        return source.take(torch.arange(min(2000, len(source))))["real"]
