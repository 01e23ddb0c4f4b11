"""The engine: who steps when. It knows nothing of images, labels or networks.

One `training_step` is one round of the game: D takes `n_critic` steps, each on a batch of its own, then G takes
one. What each player's loss is, the task says; what its weights do with it, the optimisation. So Lightning's clock,
`global_step`, counts rounds, and the clock that people use, `kimg`, counts real images that D has seen.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from gan_lightning import __version__
from gan_lightning.checkpoint import FORMAT
from gan_lightning.errors import TrainingDiverged
from gan_lightning.journal import Journal, Row
from gan_lightning.mixed_precision import TwoPlayerPrecision
from gan_lightning.optim import Optimisation
from gan_lightning.randomness import seed_step
from gan_lightning.shares import local
from gan_lightning.tasks.base import Batch, Clock, Task


class GANModule(L.LightningModule):
    """Two players, one game.

    Args:
        task: the networks and their losses.
        optim: optimizers, clipping, accumulation, learning-rate decay, averaging of G.
        seed: with the step and the device's rank it determines every random number of a step.
        config: the resolved configuration, plain containers; travels in checkpoints and to loggers.
    """

    def __init__(self, task: Task, optim: Optimisation, seed: int = 0, config: dict | None = None):
        super().__init__()
        self.automatic_optimization = False
        self.task, self.optim, self.seed, self.config = task, optim, seed, config or {}
        self.ema = optim.ema(task.g) if optim.ema else None
        self.weights = {"d": _trainable(task.d), "g": _trainable(task.g)}
        self.batches_per_step = task.n_critic * optim.accumulate
        self.moving = "d"  # the player whose turn it is
        self.steps = 0  # rounds played, which are G's steps
        self.nimg = self.nimg_before = 0  # real images seen by D on all devices: now, and before this round
        self.lr_scale = 1.0  # of both learning rates, on top of the decay
        self.recovery: Callable[[TrainingDiverged], bool] | None = None  # may set a diverged run right
        self.stopped: str | None = None  # why a run ends before its length: "interrupted", "watchdog", "pruned"
        self.journal = Journal()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = [self.optim.optimizer(player, self.weights[player]) for player in ("d", "g")]
        self._settings = [[{name: value for name, value in group.items() if name != "params"}
                           for group in optimizer.param_groups] for optimizer in optimizers]
        return optimizers

    def on_train_start(self) -> None:
        self.journal.start_clock()
        self._take_settings()

    def on_train_end(self) -> None:
        self.check_finite()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        d_optimizer, g_optimizer = self.optimizers()
        seed_step(self.seed, self.steps, self.global_rank, self.device)
        self._set_lr()
        accumulate, n_critic = self.optim.accumulate, self.task.n_critic
        batches = _split(batch, self.batches_per_step)
        seen = len(batch["real"]) * self.trainer.world_size
        images = seen // n_critic  # that go into a step
        for i in range(n_critic):
            clock = Clock(self.steps * n_critic + i, self.nimg, images)
            self._backward("d", batches[i * accumulate:(i + 1) * accumulate], clock)
            # All that `d_optimizer.step()` does, except that Lightning's clock does not count it as a round.
            self.trainer.strategy.optimizer_step(d_optimizer.optimizer, _nothing)
            self.task.after_d_step()
        self._backward("g", batches[-accumulate:], Clock(self.steps, self.nimg, images))
        g_optimizer.step()
        self._count(seen)

    def _backward(self, player: str, batches: list[Batch], clock: Clock) -> None:
        """Leaves the gradient of the player's loss, averaged over `batches`, on the player's weights."""
        self.moving = player
        loss_on = self.task.d_loss if player == "d" else self.task.g_loss
        with _frozen(self.weights["g" if player == "d" else "d"]):
            for weight in self.weights[player]:
                weight.grad = None
            for batch in batches:
                losses = loss_on(batch, clock)
                self.manual_backward(sum(losses.values()) / len(batches))
                self.journal.add(player, self.steps, losses)

    def _count(self, images: int) -> None:
        self.steps += 1
        self.nimg_before, self.nimg = self.nimg, self.nimg + images
        if self.ema is not None:
            self.ema.update(self.task.g, self.nimg, images)
        if self.journal.full:
            self.check_finite()

    def _set_lr(self) -> None:
        decay, beta2 = self.optim.decay, self.optim.beta2
        if decay is None and beta2 is None and self.lr_scale == 1.0:
            return
        factor = self.lr_scale * (1.0 if decay is None else decay(self.nimg))
        for group, settings in self._groups():
            group["lr"] = settings["lr"] * factor
            if beta2 is not None:
                group["betas"] = (settings["betas"][0], beta2(self.nimg))

    def _take_settings(self) -> None:  # a checkpoint restores the optimizers' state; their settings are the config's
        for group, settings in self._groups():
            group.update(settings)

    def _groups(self) -> Iterator[tuple[dict, dict]]:
        """Each parameter group of both optimizers, with its settings as configured."""
        for optimizer, settings in zip(self.optimizers(), self._settings, strict=True):
            yield from zip(optimizer.param_groups, settings, strict=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Gradients are averaged over devices here, and Lightning has unscaled them unless the optimizer is fused.
        if self.optim.clip[self.moving] is None:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.weights[self.moving], self.optim.clip[self.moving])

    # What callbacks use

    @property
    def sampler(self) -> nn.Module:
        """The generator that pictures and scores are taken from."""
        return self.task.g if self.ema is None else self.ema.network

    def crossed(self, every_kimg: float) -> bool:
        """Whether this round went past a multiple of `every_kimg`."""
        images = every_kimg * 1000
        return self.nimg // images > self.nimg_before // images

    def check_finite(self) -> None:
        """Raises TrainingDiverged if a loss or a weight is NaN or infinite on any device and `recovery` cannot help."""
        try:
            self.journal.check(self._average)
            if isinstance(self.trainer.precision_plugin, TwoPlayerPrecision):
                self.trainer.precision_plugin.check()
            norms = torch._foreach_norm([local(weight.detach()) for weight in self.parameters()])
            if not self._average(torch.stack(norms).float().sum()).isfinite():
                raise TrainingDiverged(f"a weight became infinite or not a number by generator step {self.steps - 1}")
        except TrainingDiverged as error:
            if self.recovery is None or not self.recovery(error):
                raise

    def fold_losses(self) -> Row:
        """Mean losses since the last call, over all devices; none after a recovery."""
        self.check_finite()
        row, precision = self.journal.fold(self._average), self.trainer.precision_plugin
        return row | precision.statistics() if row and isinstance(precision, TwoPlayerPrecision) else row

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Weights, averages and optimizers become those of `checkpoint`; clock and random numbers go on."""
        self.trainer.strategy.load_model_state_dict(checkpoint)
        self.trainer.strategy.load_optimizer_state_dict(checkpoint)
        self._take_settings()
        precision = self.trainer.precision_plugin
        if type(precision).__qualname__ in checkpoint:  # the loss scale, which falls while gradients are infinite
            precision.load_state_dict(checkpoint[type(precision).__qualname__])
        self.journal.fold()  # what was noted of steps that are undone

    def record(self, values: Row) -> None:
        """One row for the loggers and the curves, at the present kimg."""
        row = {"kimg": self.nimg / 1000, "step": self.steps} | values
        self.journal.rows.append(row)
        for logger in self.loggers:
            logger.log_metrics(row, step=self.nimg)

    def _average(self, values: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(values.to(self.device), reduce_op="mean")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        runs = {logger.continues: logger.version for logger in self.loggers
                if isinstance(getattr(logger, "continues", None), str)}
        checkpoint["gan_lightning"] = {"format": FORMAT, "version": __version__, "steps": self.steps, "nimg": self.nimg,
                                       "nimg_before": self.nimg_before, "lr_scale": self.lr_scale,
                                       "journal": self.journal.state_dict(), "runs": runs}
        checkpoint["config"] = self.config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["gan_lightning"]
        self.steps, self.nimg = state["steps"], state["nimg"]
        self.nimg_before = state.get("nimg_before", self.nimg)
        self.lr_scale = state.get("lr_scale", 1.0)
        self.journal.load_state_dict(state["journal"])


def _trainable(network: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in network.parameters() if weight.requires_grad]


@contextmanager
def _frozen(weights: list[nn.Parameter]) -> Iterator[None]:
    """No gradients for the player who is not to move: neither computed nor stored."""
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _split(batch: Batch, parts: int) -> list[Batch]:
    if parts == 1:
        return [batch]
    chunks = {name: value.chunk(parts) for name, value in batch.items()}
    return [{name: value[i] for name, value in chunks.items()} for i in range(parts)]


def _nothing() -> None:
    """The gradients are there already."""
