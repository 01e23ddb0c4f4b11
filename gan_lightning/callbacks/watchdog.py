"""A watch on the run's health."""

import logging
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn

from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.checkpoint import HEALTHY, LAST, read_checkpoint, replace_by_link
from gan_lightning.checkpoint_io import save
from gan_lightning.data.base import to_float
from gan_lightning.errors import CheckpointError, ConfigError, TrainingDiverged, UserError
from gan_lightning.health import Health, Look, energy_distance, mean_distance, share_of_pairs
from gan_lightning.metrics.together import on_first, together
from gan_lightning.module import GANModule
from gan_lightning.sampling import GAN
from gan_lightning.shares import gradient_norm, whole
from gan_lightning.writing import Writing

log = logging.getLogger("gan_lightning")
HEALTHY_BEFORE = HEALTHY.with_name("healthy_before.ckpt")
"""The one that `last.ckpt` knows of, if `healthy.ckpt` is newer than that."""
COARSE = 64

ADVICE = {
    "collapse": "a smaller optim.g.lr, or loss=rpgan, may help",
    "won": "a smaller optim.d.lr, or term=[r1], may help",
    "diverged": "a smaller optim.g.lr and optim.d.lr may help",
}


class Watchdog(EveryKimg):
    """Says so, once, when samples collapse, the discriminator has won, or the run diverges; records `health/*`.

    Looking draws no random number of the run and changes no weight. Fakes are the live generator's, from fixed latents.

    Args:
        on_alarm: `warn` goes on; `stop` ends the run, with its last checkpoint and pictures, in an error; `rollback`
            goes back to the weights of the last look that found nothing wrong (`checkpoints/healthy.ckpt`), while the
            clock goes on. A loss or weight that is NaN or infinite ends the run unless it can be rolled back.
        lr_factor: what a rollback multiplies both learning rates by, for the rest of the run.
        max_rollbacks: after which the next alarm ends the run.
        n: fakes, and reals, that are compared.
        collapse_below, won_above, patience, settle, settle_steps, near, nearer, largest_gap: see
            `gan_lightning.health.Health`.
    """

    def __init__(self, every_kimg: float = 10.0, on_alarm: Literal["warn", "stop", "rollback"] = "warn",
                 lr_factor: float = 0.5, max_rollbacks: int = 3, n: int = 64, collapse_below: float = 0.2,
                 won_above: float = 0.99, patience: int = 4, settle: float = 0.1, settle_steps: int = 500,
                 near: float = 0.1, nearer: float = 0.95, largest_gap: float = 1e5):
        super().__init__(every_kimg)
        if on_alarm not in ("warn", "stop", "rollback"):
            raise ConfigError(f"callbacks.watchdog.on_alarm={on_alarm}: must be warn, stop or rollback")
        if not 0 < lr_factor <= 1:
            raise ConfigError(f"callbacks.watchdog.lr_factor={lr_factor}: must be above 0 and at most 1")
        for name, value, least in (("max_rollbacks", max_rollbacks, 0), ("n", n, 2), ("patience", patience, 1)):
            if value < least:
                raise ConfigError(f"callbacks.watchdog.{name}={value}: must be at least {least}")
        self.on_alarm, self.lr_factor, self.max_rollbacks, self.n = on_alarm, lr_factor, max_rollbacks, n
        self.health = Health(collapse_below, won_above, patience, settle, settle_steps, near, nearer, largest_gap)
        self.rollbacks = 0
        self.healthy: int | None = None  # images seen at the last look that found nothing wrong
        self._writing = Writing(HEALTHY.name)
        self._stopped = ""
        self._reals: tuple[Tensor, Tensor | None] | None = None

    def on_train_start(self, trainer: L.Trainer, module: GANModule) -> None:
        if self.on_alarm == "rollback":
            module.recovery = lambda error: self._go_back(trainer, module, f"diverged: {error}")

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        module.check_finite()
        values = self._measure(trainer, module)
        if not values:
            return
        module.record({f"health/{name}": value for name, value in values.items() if isfinite(value)})
        for kind, words in self.health.judge(self._look(trainer, module, values)).items():
            self._raise_alarm(trainer, module, kind, words)
            if self.on_alarm == "rollback":
                break  # one answers all that was wrong at this look
        if self.on_alarm == "rollback" and self.health.well:
            self._save(trainer, module)

    def on_fit_end(self, trainer: L.Trainer, module: GANModule) -> None:
        module.recovery = None
        if self._stopped:
            raise UserError(f"stopped by the watchdog: {self._stopped}")

    # What is measured, as means over all devices

    def _measure(self, trainer: L.Trainer, module: GANModule) -> dict[str, float]:
        logits = getattr(module.task, "last_logits", None)
        if logits is None:  # no step since the process began
            return {}
        values = _of_logits(*(t.flatten().float() for t in logits), _boundary(module))
        values |= {f"{player}_gradient": _gradient_norm(module, i) for i, player in enumerate(("d", "g"))}
        values |= self._of_samples(trainer, module)
        values = dict(zip(values, module._average(torch.stack([
            torch.as_tensor(value).float().to(module.device) for value in values.values()])).tolist(), strict=True))
        values["gap_in_stds"] = values["gap"] / max(values.pop("variance"), 1e-30)**0.5
        return values

    def _of_samples(self, trainer: L.Trainer, module: GANModule) -> dict[str, Tensor]:
        if self._reals is None:
            source = trainer.datamodule.data.source()
            n = min(self.n, len(source))
            taken = source.take(torch.arange(n) * len(source) // n)  # from all over it: sets may be sorted by class
            self._reals = _coarse(to_float(taken["real"].cpu())), taken.get("label")
        real, label = self._reals
        gan = GAN(module.task, module.task.g, module.config)
        label = label.cpu() if gan.num_classes and label is not None else None
        with whole(module.task.g):
            fake = _coarse(gan.sample(len(real), seed=module.seed, label=label))
        return {"diversity": mean_distance(fake, label) / mean_distance(real, label),
                "distance": energy_distance(fake, real)}

    def _look(self, trainer: L.Trainer, module: GANModule, values: dict[str, float]) -> Look:
        adversarial = getattr(getattr(module.task, "objective", None), "adversarial", None)
        accuracy = values["d_accuracy" if _boundary(module) is not None else "d_pairs"]
        if getattr(adversarial, "accurate_d_teaches", False):
            accuracy = float("nan")
        return Look(module.steps, module.steps / trainer.max_steps, accuracy, values["gap"], values["diversity"],
                    values["distance"])

    # What is done about it

    def _save(self, trainer: L.Trainer, module: GANModule) -> None:
        folder, before = Path(trainer.default_root_dir), self.healthy
        self.healthy = module.nimg
        reason = on_first(lambda: _keep_what_last_knows(folder)) or save(trainer, folder / HEALTHY)
        if reason:
            self.healthy = before
            self._writing.failed(reason)

    def _raise_alarm(self, trainer: L.Trainer, module: GANModule, kind: str, words: str) -> None:
        if self.on_alarm == "rollback":
            if not self._go_back(trainer, module, words):
                raise UserError(f"stopped by the watchdog: {words}, with no checkpoint to go back to; {ADVICE[kind]}")
            return
        message = f"{words}; {ADVICE[kind]}"
        if trainer.is_global_zero:
            log.warning("watchdog, %.4g kimg: %s", module.nimg / 1000, message)
        if self.on_alarm == "stop":
            self._stopped = self._stopped or message
            module.stopped, trainer.should_stop = "watchdog", True

    def _go_back(self, trainer: L.Trainer, module: GANModule, words: str) -> bool:
        """Whether there was something to go back to. Called on all devices."""
        folder = Path(trainer.default_root_dir)
        path = on_first(lambda: self._healthy_in(folder))
        if path is None:
            return False
        if self.rollbacks >= self.max_rollbacks:
            raise TrainingDiverged(f"{words}, after {self.rollbacks} rollbacks (callbacks.watchdog.max_rollbacks)")
        checkpoint = together(lambda: read_checkpoint(path))
        module.lr_scale *= self.lr_factor
        module.restore(checkpoint)
        self.rollbacks += 1
        self.health.forget()
        if trainer.is_global_zero:
            log.warning("watchdog, %.4g kimg: %s; back to the weights of %.4g kimg, learning rates times %.3g from now "
                        "on (rollback %d of %d)", module.nimg / 1000, words, checkpoint["gan_lightning"]["nimg"] / 1000,
                        module.lr_scale, self.rollbacks, self.max_rollbacks)
        return True

    def _healthy_in(self, folder: Path) -> Path | None:
        """What to go back to; not a state that a run before an interruption reached, and this one has not."""
        for name in (HEALTHY, HEALTHY_BEFORE) if self.healthy is not None else ():
            with suppress(CheckpointError):
                if read_checkpoint(folder / name)["gan_lightning"]["nimg"] == self.healthy:
                    return folder / name
        return folder / LAST if (folder / LAST).exists() else None

    def state_dict(self) -> dict[str, Any]:
        return {"health": self.health.state_dict(), "rollbacks": self.rollbacks, "healthy": self.healthy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.health.load_state_dict(state["health"])
        self.rollbacks, self.healthy = state["rollbacks"], state.get("healthy")


def _keep_what_last_knows(folder: Path) -> str | None:
    """Keeps a healthy state that is older than `last.ckpt`, to which a run that goes on from there may have to go back.

    Returns why the system did not let it.
    """
    healthy, last = folder / HEALTHY, folder / LAST
    try:
        if healthy.exists() and last.exists() and healthy.stat().st_mtime_ns <= last.stat().st_mtime_ns:
            replace_by_link(healthy, folder / HEALTHY_BEFORE)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _boundary(module: GANModule) -> float | None:
    return getattr(getattr(getattr(module.task, "objective", None), "adversarial", None), "boundary", None)


def _coarse(samples: Tensor) -> Tensor:
    """Images averaged down to at most COARSE pixels a side, where they differ as much; points as they are."""
    if samples.ndim != 4:
        return samples
    return nn.functional.adaptive_avg_pool2d(samples, [min(side, COARSE) for side in samples.shape[2:]])


def _of_logits(real: Tensor, fake: Tensor, boundary: float | None) -> dict[str, Tensor]:
    values = {"d_pairs": share_of_pairs(real, fake), "gap": real.mean() - fake.mean(),
              "variance": (real.var(correction=0) + fake.var(correction=0)) / 2}
    if boundary is not None:
        right = {"real": (real > boundary).float().mean(), "fake": (fake < boundary).float().mean()}
        values |= {"d_accuracy": sum(right.values()) / 2} | {f"d_accuracy_{kind}": r for kind, r in right.items()}
    return values


def _gradient_norm(module: GANModule, player: int) -> Tensor:
    """Of the last step, as the optimizer used it: averaged over devices, clipped if it is, unscaled (a fused optimizer
    that is given a loss scale unscales the gradients in place)."""
    return gradient_norm(module.weights["dg"[player]])
