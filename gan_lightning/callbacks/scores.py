"""Is it getting better? Scores during training, and the checkpoint that did best."""

import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import lightning as L

from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.checkpoint import BEST, read_checkpoint, write_atomically
from gan_lightning.checkpoint_io import save
from gan_lightning.data.base import ImageData
from gan_lightning.errors import CheckpointError
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.metrics.generated import fakes_of, made_by, scored_noise
from gan_lightning.metrics.result import Result, Scored
from gan_lightning.metrics.together import on_first, together
from gan_lightning.module import GANModule
from gan_lightning.pictures import save_png
from gan_lightning.sampling import GAN
from gan_lightning.shares import whole
from gan_lightning.writing import Writing

log = logging.getLogger("gan_lightning")
DEAR = 0.5  # share of the time between evaluations from which on their cost is worth a word


class Scores(EveryKimg):
    """Evaluates the averaged generator: rows `metrics/*` for loggers and curves, `checkpoints/best.ckpt`, pictures.

    What is best is told by the evaluation's principal score, and only among scores with the same fingerprint. Nothing
    here draws a random number of the run's own or changes a weight: training is the same without it, bit for bit.
    """

    def __init__(self, evaluation: Evaluation, data: ImageData, every_kimg: float):
        super().__init__(every_kimg)
        self.evaluation, self.data = evaluation, data
        self.last: dict[str, Any] | None = None  # Result.to_dict() and kimg of the newest evaluation
        self.best: dict[str, Any] | None = None  # principal name, deciding scores and kimg of the best
        self._finished, self._told = time.monotonic(), False
        self._writing = {what: Writing(what) for what in ("best.ckpt", "pictures of scores")}

    def setup(self, trainer: L.Trainer, module: GANModule, stage: str) -> None:
        self.evaluation.agree(self.data)

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        if trainer.ckpt_path:
            self.best = on_first(lambda: self._bring_best(trainer, module))
        super().on_train_start(trainer, module)
        if module.nimg == 0:
            self._act_once(trainer, module)

    def _bring_best(self, trainer: L.Trainer, module: GANModule) -> dict[str, Any] | None:
        """What is known of the best checkpoint, if that is there.

        A run that goes on in another directory takes it along. One that was interrupted after it, and before the next
        `last.ckpt`, leaves one that is newer than the state to go on from.
        """
        here, before = Path(trainer.default_root_dir) / BEST, Path(trainer.ckpt_path).with_name(BEST.name)
        nimg = round(1000 * self.best["kimg"]) if self.best else None
        for path in dict.fromkeys((here, before)):
            with suppress(CheckpointError):
                content = read_checkpoint(path)
                saved = content["gan_lightning"]["nimg"]
                if path == here and saved > module.nimg:
                    return content["callbacks"].get(self.state_key, {}).get("best")
                if saved == nimg and (path == here or self._writing["best.ckpt"].attempt(
                        lambda path=path: write_atomically(here, partial(_copy, path)))):
                    return self.best
        return None

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        module.check_finite()
        begin = time.monotonic()
        gan = GAN(module.task, module.sampler, module.config, module.ema is not None)
        gan.noise = scored_noise(gan)
        fakes = together(lambda: self._fakes(gan))
        with whole(module.sampler):
            result = self.evaluation.measure(fakes, self.data, module.device, made_by(gan))
        kimg = module.nimg / 1000
        self.last = result.to_dict() | {"kimg": kimg}
        module.record({f"metrics/{name}": value for name, value in result.values().items()})
        self._keep_best(trainer, module, result)
        if trainer.is_global_zero:
            self._show(trainer, module, result)
        self._tell_cost(module, begin)

    def _fakes(self, gan: GAN) -> ImageSet:
        evaluation = self.evaluation
        return fakes_of(gan, evaluation.num_fake, evaluation.seed, evaluation.reals(self.data), block=evaluation.block)

    def _keep_best(self, trainer: L.Trainer, module: GANModule, result: Result) -> None:
        now = result.scores[result.main]
        before = {name: Scored.from_dict(scored) for name, scored in self.best["scores"].items()} if self.best else {}
        if before and any(scored.fingerprint != now.fingerprint for scored in before.values()):
            log.warning("%s is measured differently than before the resume (%s, was %s): best.ckpt is chosen afresh",
                        result.main, now.id, next(iter(before.values())).id)
            before = {}
        if result.better_than(before):
            scores = {name: result.scores[name].to_dict() for name in result.deciding}
            best, self.best = self.best, {"name": result.main, "scores": scores, "kimg": module.nimg / 1000}
            reason = save(trainer, Path(trainer.default_root_dir) / BEST)
            if reason:
                self.best = best  # which is what the file still holds
                self._writing["best.ckpt"].failed(reason)

    def _show(self, trainer: L.Trainer, module: GANModule, result: Result) -> None:
        """Writes the pictures that come with the scores, the newest in place of the last."""
        for name, pixels in result.pictures.items():
            path = Path(trainer.default_root_dir) / f"{name}.png"
            self._writing["pictures of scores"].attempt(lambda path=path, pixels=pixels: save_png(path, pixels))
            for logger in trainer.loggers:
                if hasattr(logger, "log_picture"):
                    logger.log_picture(name, pixels, module.nimg / 1000, module.nimg)

    def _tell_cost(self, module: GANModule, begin: float) -> None:
        now = time.monotonic()
        took, between = now - begin, begin - self._finished
        self._finished = now
        if module.nimg and took > 10 and took > DEAR * (took + between) and not self._told:
            self._told = True
            log.warning("an evaluation took %.0f s, %.0f %% of the time since the last: fewer samples "
                        "(metrics.num_fake) or a longer interval (metrics.every_kimg) make it cheaper", took,
                        100 * took / (took + between))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.last = state["best"], state["last"]


def _copy(path: Path, file: BinaryIO) -> None:
    file.write(path.read_bytes())
