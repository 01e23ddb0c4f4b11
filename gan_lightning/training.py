"""A training run from config to summary: what `train.py` does."""

import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import Checkpoint
from omegaconf import DictConfig, OmegaConf

from gan_lightning.build import build_loggers, build_module, build_trainer, instantiate
from gan_lightning.callbacks.checkpoint import SaveCheckpoint
from gan_lightning.callbacks.interrupt import StopOnSignal, end_launched
from gan_lightning.callbacks.scores import Scores
from gan_lightning.checkpoint import LAST, write_atomically
from gan_lightning.compiling import check_compiler, compile_networks
from gan_lightning.data.base import ImageData, to_float
from gan_lightning.errors import ConfigError, DataError, TrainingDiverged, UserError
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.metrics.together import on_first, together
from gan_lightning.module import GANModule
from gan_lightning.randomness import check_seed
from gan_lightning.resume import Start, check_agreement, check_fit, find_start, mend
from gan_lightning.stopping import Signals
from gan_lightning.summary import report, shown, summarise


class TrainData(L.LightningDataModule):
    """Hands a data set to the Trainer: where a resumed run goes on, and which share is this device's."""

    def __init__(self, data: ImageData, seed: int, images_per_step: int, channels_last: bool, start: str):
        super().__init__()
        self.data, self.seed, self.channels_last, self.start = data, seed, channels_last, start
        self.images_per_step = images_per_step  # on all devices
        self.order_before: dict[str, int] = {}  # what the images' order depended on before a resume

    def prepare_data(self) -> None:
        self.data.prepare()

    def setup(self, stage: str) -> None:
        check_agreement(self.start)
        order, first = self.state_dict(), on_first(self.state_dict)
        together(lambda: _check_same_order(order, first))

    def train_dataloader(self) -> Any:
        module, trainer = self.trainer.lightning_module, self.trainer
        if trainer.is_global_zero:
            self._tell_of_another_order()
        return self.data.loader(batches_per_step=module.batches_per_step, seed=self.seed, start=module.nimg,
                                rank=trainer.global_rank, world_size=trainer.world_size, device=module.device)

    def state_dict(self) -> dict[str, int]:
        return self.data.order_depends_on(self.trainer.world_size)

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.order_before = state

    def _tell_of_another_order(self) -> None:
        changed = [f"{name} was {self.order_before[name]}, is {value}" for name, value in self.state_dict().items()
                   if self.order_before.get(name, value) != value]
        if changed:
            print(f"{'; '.join(changed)}: images come in another order from here on; of the epoch in progress, some "
                  "come twice and others not at all", flush=True)

    def on_after_batch_transfer(self, batch: dict[str, torch.Tensor], dataloader_idx: int) -> dict[str, torch.Tensor]:
        real = to_float(batch["real"]).to(self.trainer.lightning_module.dtype)
        if self.channels_last and real.ndim == 4:
            real = real.contiguous(memory_format=torch.channels_last)
        return batch | {"real": real}


def _check_same_order(order: dict[str, int], first: dict[str, int]) -> None:
    if order != first:  # else some images would come twice, and others not at all
        raise DataError(f"this process finds other data ({order}) than the first one ({first}): are all shards within "
                        "reach of each?")


def train(cfg: DictConfig, run_dir: Path | None = None) -> dict[str, Any]:
    """Trains what `cfg` describes and returns the summary that the run directory holds as summary.json.

    Args:
        run_dir: where everything is written; by default the directory that Hydra made for this run.

    Raises:
        SystemExit: stopped by a signal, after a checkpoint, with an exit code of `gan_lightning.stopping`. Of several
            processes the first has that code, and the others 0: launchers take anything else for a crash.
        UserError: the watchdog stopped the run, or its last checkpoint could not be written; all else is as always.
    """
    with Signals() as signals:
        return _train(cfg, run_dir, signals)


def _train(cfg: DictConfig, run_dir: Path | None, signals: Signals) -> dict[str, Any]:
    _quieten()
    _check(cfg)
    beside = run_dir is None and not _directory_was_chosen()
    run_dir = run_dir or Path(HydraConfig.get().runtime.output_dir)
    start = find_start(cfg.ckpt_path, run_dir, beside)
    module, data = build_module(cfg), instantiate(cfg.data)
    module.configure_optimizers()  # a setting they refuse is better known now than after a download
    state = {"nimg": 0, "steps": 0}
    if start:
        check_fit(start, module, cfg.allow_changes)
        state = start.content["gan_lightning"]
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the other processes of a machine wait for the first, in `fit`
        data.prepare()
        data.check()
    evaluation = instantiate(cfg.metrics) if cfg.metrics is not None else None
    if evaluation and not isinstance(evaluation, Evaluation):
        raise ConfigError("these metrics take minutes at each look: they are for evaluate.py ckpt=RUN "
                          "metrics=augmentation or metrics=path_length, after training")
    scores = [Scores(evaluation, data, evaluation.every_kimg or cfg.max_kimg / 20)] if evaluation else []
    callbacks = [*scores, *(instantiate(node) for node in (cfg.callbacks or {}).values() if node)]
    callbacks.append(StopOnSignal(signals))  # a signal during an evaluation ends the run in that step
    images_per_device = cfg.data.batch_size * module.batches_per_step

    def max_steps(world_size: int) -> int:
        left = cfg.max_kimg * 1000 - state["nimg"]
        return state["steps"] + max(0, math.ceil(left / (images_per_device * world_size)))

    loggers = build_loggers(cfg, state.get("runs", {}))
    trainer = build_trainer(cfg, run_dir, max_steps, callbacks=callbacks, logger=loggers,
                            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks))
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = cfg.tf32
    if cfg.compile:
        check_compiler(trainer.strategy.root_device)
        compile_networks(module.task)
    if evaluation and os.environ.get("LOCAL_RANK", "0") == "0":
        evaluation.prepare(data, trainer.strategy.root_device, getattr(module.task.g, "num_classes", 0))
    train_data = TrainData(data, cfg.seed, images_per_device * trainer.world_size, cfg.channels_last, str(start))
    if trainer.is_global_zero:
        _begin(run_dir, module, trainer, start, cfg)
    if start:
        trainer.strategy.checkpoint_io.keep(*start[:2])
    path, start = start and start.path, None  # it holds all weights, and the Trainer has them now
    error = _fit(trainer, module, train_data, path)
    summary = summarise(module, trainer, run_dir)
    if trainer.is_global_zero:
        print(report(summary, run_dir))
    _end(trainer, module, signals, error)
    return summary


def _check(cfg: DictConfig) -> None:
    if not 0 < cfg.max_kimg < math.inf:
        raise ConfigError(f"max_kimg={cfg.max_kimg}: must be above 0")
    check_seed(cfg.seed)


def _directory_was_chosen() -> bool:
    """Whether the user named the run's directory, or a sweep did: another run's checkpoint is then not meant."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN or any(o.startswith("hydra.run.dir=") for o in hydra.overrides.hydra)


def _fit(trainer: L.Trainer, module: GANModule, data: TrainData, start: Path | None) -> UserError | None:
    """Trains to the end; the error, if any, that is to be told when all that a run ends with has been done."""
    try:
        trainer.fit(module, datamodule=data, ckpt_path=start)
    except SystemExit:  # a signal before the first step
        end_launched(trainer)
        raise
    except TrainingDiverged as error:
        last = Path(trainer.default_root_dir) / LAST
        good = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint had been written yet"
        raise TrainingDiverged(f"{error}; {good}; a smaller optim.g.lr and optim.d.lr may help") from error
    except UserError as error:
        if module.stopped is None:
            raise
        return error
    failures = (callback.failure for callback in trainer.callbacks if isinstance(callback, SaveCheckpoint))
    failure = next(filter(None, failures), None)
    return UserError(failure) if failure else None


def _begin(run_dir: Path, module: GANModule, trainer: L.Trainer, start: Start | None, cfg: DictConfig) -> None:
    for folder in (run_dir, run_dir / LAST.parent, run_dir / "samples"):
        for left_behind in folder.glob(".*.tmp"):  # by a process killed while writing
            left_behind.unlink()
    text = OmegaConf.to_yaml(OmegaConf.create(module.config))
    try:
        if start:
            mend(start, run_dir)
        write_atomically(run_dir / "config.yaml", lambda file: file.write(text.encode()))
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be written to ({error.strerror or error})") from error
    state = start.content["gan_lightning"] if start else {"journal": {"rows": []}, "nimg": 0}
    for logger in trainer.loggers:
        if hasattr(logger, "go_on_from"):
            logger.go_on_from(state["journal"]["rows"], state["nimg"])
        logger.log_hyperparams(module.config)
    where = f", going on from {shown(start.path)}" if start else ""
    batch = cfg.data.batch_size
    sizes = f"batches of {batch} on each of {trainer.world_size} devices, {batch * trainer.world_size} in all"
    print(f"{shown(run_dir)}: training for {cfg.max_kimg:g} kimg, "
          f"{sizes if trainer.world_size > 1 else f'batches of {batch}'}{where}", flush=True)


def _end(trainer: L.Trainer, module: GANModule, signals: Signals, error: UserError | None) -> None:
    code = signals.code if module.stopped == "interrupted" else 0
    if not trainer.is_global_zero and (error or code):
        raise SystemExit(0)
    if code:
        print(f"stopped   python train.py ... ckpt_path=last hydra.run.dir={shown(trainer.default_root_dir)}   goes on")
    if error:
        raise error
    if code:
        raise SystemExit(code)


def _quieten() -> None:
    """Lightning's advice is meant for other modules than ours; its errors and warnings of substance stay."""
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*`IterableDataset`.*", ".*Checkpoint directory.*exists.*",
                    ".*GPU available but not used.*", ".*in eval mode at the start of training.*", ".*LeafSpec.*",
                    ".*callbacks used to create the checkpoint.*"):
        warnings.filterwarnings("ignore", message)
