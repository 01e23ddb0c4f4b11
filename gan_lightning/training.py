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
from gan_lightning.callbacks.interrupt import StopOnSignal
from gan_lightning.callbacks.scores import Scores
from gan_lightning.checkpoint import LAST, read_checkpoint, write_atomically
from gan_lightning.data.base import ImageData, to_float
from gan_lightning.errors import ConfigError, TrainingDiverged
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.module import GANModule
from gan_lightning.randomness import check_seed
from gan_lightning.resume import check_fit, find_checkpoint
from gan_lightning.summary import report, shown, summarise


class TrainData(L.LightningDataModule):
    """Hands a data set to the Trainer: where a resumed run goes on, and which share is this device's."""

    def __init__(self, data: ImageData, seed: int, images_per_step: int, channels_last: bool):
        super().__init__()
        self.data, self.seed, self.channels_last = data, seed, channels_last
        self.images_per_step = images_per_step  # on all devices

    def prepare_data(self) -> None:
        self.data.prepare()

    def train_dataloader(self) -> Any:
        module, trainer = self.trainer.lightning_module, self.trainer
        return self.data.loader(batches_per_step=module.batches_per_step, seed=self.seed, start=module.nimg,
                                rank=trainer.global_rank, world_size=trainer.world_size, device=module.device)

    def on_after_batch_transfer(self, batch: dict[str, torch.Tensor], dataloader_idx: int) -> dict[str, torch.Tensor]:
        real = to_float(batch["real"]).to(self.trainer.lightning_module.dtype)
        if self.channels_last and real.ndim == 4:
            real = real.contiguous(memory_format=torch.channels_last)
        return batch | {"real": real}


def train(cfg: DictConfig, run_dir: Path | None = None) -> dict[str, Any]:
    """Trains what `cfg` describes and returns the summary that the run directory holds as summary.json.

    Args:
        run_dir: where everything is written; by default the directory that Hydra made for this run.

    Raises:
        SystemExit: stopped by Ctrl-C or SIGTERM, after a checkpoint, with the shell's code for that signal.
    """
    _quieten()
    _check(cfg)
    beside = run_dir is None and not _directory_was_chosen()
    run_dir = run_dir or Path(HydraConfig.get().runtime.output_dir)
    resume = find_checkpoint(cfg.ckpt_path, run_dir, beside)
    module, data = build_module(cfg), instantiate(cfg.data)
    module.configure_optimizers()  # a setting they refuse is better known now than after a download
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the other processes of a machine wait for the first, in `fit`
        data.prepare()
        data.check()
    state = {"nimg": 0, "steps": 0}
    if resume:
        checkpoint = read_checkpoint(resume)
        check_fit(checkpoint, module, resume)
        state = checkpoint["gan_lightning"]
        del checkpoint
    interrupt = StopOnSignal()
    evaluation = instantiate(cfg.metrics) if cfg.metrics is not None else None
    if evaluation and not isinstance(evaluation, Evaluation):
        raise ConfigError("these metrics take minutes at each look: they are for evaluate.py ckpt=RUN "
                          "metrics=augmentation or metrics=path_length, after training")
    scores = [Scores(evaluation, data, evaluation.every_kimg or cfg.max_kimg / 20)] if evaluation else []
    callbacks = [interrupt, *scores, *(instantiate(node) for node in (cfg.callbacks or {}).values() if node)]
    images_per_device = cfg.data.batch_size * module.batches_per_step

    def max_steps(world_size: int) -> int:
        left = cfg.max_kimg * 1000 - state["nimg"]
        return state["steps"] + max(0, math.ceil(left / (images_per_device * world_size)))

    loggers = build_loggers(cfg, state.get("runs", {}))
    trainer = build_trainer(cfg, run_dir, max_steps, callbacks=callbacks, logger=loggers,
                            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks))
    if evaluation and os.environ.get("LOCAL_RANK", "0") == "0":
        evaluation.prepare(data, trainer.strategy.root_device, getattr(module.task.g, "num_classes", 0))
    train_data = TrainData(data, cfg.seed, images_per_device * trainer.world_size, cfg.channels_last)
    if trainer.is_global_zero:
        _begin(run_dir, module, trainer, resume, cfg)
    _fit(trainer, module, train_data, resume)
    summary = summarise(module, trainer, run_dir)
    if trainer.is_global_zero:
        print(report(summary, run_dir))
        if interrupt.received:
            print(f"stopped   python train.py ... ckpt_path=last hydra.run.dir={shown(run_dir)}   goes on")
    if interrupt.received:
        raise SystemExit(128 + interrupt.received)
    return summary


def _check(cfg: DictConfig) -> None:
    if not 0 < cfg.max_kimg < math.inf:
        raise ConfigError(f"max_kimg={cfg.max_kimg}: must be above 0")
    check_seed(cfg.seed)


def _directory_was_chosen() -> bool:
    """Whether the user named the run's directory, or a sweep did: another run's checkpoint is then not meant."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN or any(o.startswith("hydra.run.dir=") for o in hydra.overrides.hydra)


def _fit(trainer: L.Trainer, module: GANModule, data: TrainData, resume: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    except TrainingDiverged as error:
        last = Path(trainer.default_root_dir) / LAST
        good = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint had been written yet"
        raise TrainingDiverged(f"{error}; {good}; a smaller optim.g.lr and optim.d.lr may help") from error


def _begin(run_dir: Path, module: GANModule, trainer: L.Trainer, resume: Path | None, cfg: DictConfig) -> None:
    for left_behind in (run_dir / LAST.parent).glob(".*.tmp"):  # by a process killed while writing
        left_behind.unlink()
    text = OmegaConf.to_yaml(OmegaConf.create(module.config))
    write_atomically(run_dir / "config.yaml", lambda file: file.write(text.encode()))
    for logger in trainer.loggers:
        logger.log_hyperparams(module.config)
    where = f", going on from {shown(resume)}" if resume else ""
    print(f"{shown(run_dir)}: training for {cfg.max_kimg:g} kimg{where}", flush=True)


def _quieten() -> None:
    """Lightning's advice is meant for other modules than ours; its errors and warnings of substance stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*`IterableDataset`.*", ".*Checkpoint directory.*exists.*",
                    ".*GPU available but not used.*", ".*in eval mode at the start of training.*", ".*LeafSpec.*",
                    ".*callbacks used to create the checkpoint.*"):
        warnings.filterwarnings("ignore", message)
