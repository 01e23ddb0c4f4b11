"""Samples from a trained generator: what `sample.py` and `gan_lightning.load` do.

Imports networks and torch alone: no data set, logger, metric or Lightning.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gan_lightning.build import build_task
from gan_lightning.checkpoint import locate, read_checkpoint, write_atomically
from gan_lightning.errors import CheckpointError, ConfigError, UserError
from gan_lightning.pictures import picture, save_png, to_uint8
from gan_lightning.randomness import check_seed
from gan_lightning.tasks.base import Task

LARGEST = 2**62
"""Of `n` and `start`: the numbers of all samples then fit 63 bits."""


class GAN:
    """A generator ready to be sampled from.

    Args:
        task: the game it was trained in, which knows what a generator is fed.
        network: the generator, live or averaged.
        config: the run's resolved configuration.
        averaged: whether `network` is the average.
    """

    def __init__(self, task: Task, network: nn.Module, config: dict[str, Any], averaged: bool = False):
        self.task, self.network, self.config, self.averaged = task, network, config, averaged

    @property
    def num_classes(self) -> int:
        """How many labels the generator knows; 0 if it takes none."""
        return getattr(self.network, "num_classes", 0)

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0, label: int | Tensor | None = None,
               truncation: float | None = None, start: int = 0, batch_size: int = 32) -> Tensor:
        """Samples number `start` to `start + n` of this seed: float32 (n, C, H, W) in [-1, 1] or (n, 2).

        Sample i depends on the weights, `seed` and i alone. It is always computed at the same place of a
        batch of the same size, so that not even rounding depends on `n` and `start`.

        Args:
            label: one class for all, or one for each (n,); none draws classes evenly.
            truncation: keeps the latents within +-truncation: fidelity for diversity.
        """
        _check_numbers(n, start, seed)
        labels = self._labels(n, label)
        first, last = start // batch_size, ceil((start + n) / batch_size)
        with self.evaluating():
            batches = []
            for indices in (range(b * batch_size, (b + 1) * batch_size) for b in range(first, last)):
                given = None if labels is None else labels[(torch.tensor(indices) - start).clamp(0, n - 1)]
                batches.append(self.draw(indices, seed, given, truncation)[0].cpu().float())
        offset = start - first * batch_size
        return torch.cat(batches)[offset:offset + n] if batches else torch.empty(0)

    @torch.no_grad()
    def draw(self, indices: range, seed: int, labels: Tensor | None = None,
             truncation: float | None = None) -> tuple[Tensor, Tensor | None]:
        """The samples with these numbers, computed as one batch, and their labels, both where the network is.

        The mode of the network is the caller's: see `evaluating`.
        """
        batch = self.task.sample_batch(indices, seed, labels, truncation)
        weight = next(self.network.parameters())
        batch = {name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
                 for name, value in batch.items()}
        return self.task.generate(batch, self.network), batch.get("label")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The network in eval mode, every part of it afterwards in the mode it was in.

        Uncompiled: batches of another size, or the other mode, would each be compiled anew.
        """
        modes = {module: module.training for module in self.network.modules()}
        compiled, self.network._compiled_call_impl = self.network._compiled_call_impl, None
        self.network.eval()
        try:
            yield
        finally:
            self.network._compiled_call_impl = compiled
            for module, training in modes.items():
                module.training = training

    def _labels(self, n: int, label: int | Tensor | None) -> Tensor | None:
        if label is None:
            return None
        if not self.num_classes:
            raise ConfigError(f"label={label}: this generator takes no labels "
                              "(it was trained with model.conditional=false)")
        labels = torch.as_tensor(label).long().expand(n)
        if n and (labels.min() < 0 or labels.max() >= self.num_classes):
            raise ConfigError(f"label={label}: must be 0 to {self.num_classes - 1}")
        return labels


def load(path: str | Path, device: str = "cpu", ema: bool = True) -> GAN:
    """The generator in a checkpoint file, or in the last checkpoint of a run directory.

    The caller's random numbers stay as they are.

    Args:
        ema: take the averaged weights where there are any; false takes the live ones.

    Raises:
        CheckpointError: no checkpoint there, or not a whole one of ours.
        ConfigError: no such device.
    """
    check_device(device)
    content = read_checkpoint(path)
    config, state = content["config"], content["state_dict"]
    with torch.random.fork_rng(devices=[]):  # building draws first weights, on the CPU
        task = build_task(OmegaConf.create(config))
    averaged = _under("ema.network.", state)
    try:
        task.g.load_state_dict(averaged if ema and averaged else _under("task.g.", state))
    except RuntimeError as error:
        raise CheckpointError(f"{locate(path)}: its weights do not fit the networks of its own config; "
                              "was a network's code changed since?") from error
    return GAN(task, task.g.to(device).eval(), config, averaged=bool(ema and averaged))


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _check_numbers(n: int, start: int, seed: int, fewest: int = 0) -> None:
    if not fewest <= n <= LARGEST:
        raise ConfigError(f"n={n}: must be from {fewest} to 2^62")
    if not 0 <= start <= LARGEST:
        raise ConfigError(f"start={start}: must be from 0 to 2^62")
    check_seed(seed)


def check_device(device: str | torch.device) -> None:
    """Raises ConfigError if torch cannot compute on `device`."""
    try:
        torch.zeros(1, device=device).cpu()  # the only question that every kind of device answers
    except (RuntimeError, AssertionError, ImportError) as error:
        here = " or device=cuda" if torch.cuda.is_available() else ""
        message = f"device={device}: torch cannot use such a device here; choose device=cpu{here}"
        raise ConfigError(message) from error


def _kind(out: str) -> str:
    """What to write: ".png", ".npz", or "" for a folder. Refuses an `out` whose place is taken."""
    path = Path(out)
    kind = "" if out.endswith("/") else path.suffix
    if not out or kind not in ("", ".png", ".npz"):
        raise ConfigError(f"out={out}: must end in .png (a grid), .npz (an array) or / (a folder of "
                          "pictures)")
    if kind and os.path.isdir(path):
        raise ConfigError(f"out={out}: is a folder; name another file, or end it in / for pictures in it")
    folder = path.parent if kind else path
    for above in (folder, *folder.parents):
        if os.path.lexists(above) and not os.path.isdir(above):
            raise ConfigError(f"out={out}: {above} is a file and cannot be a folder; choose another name")
    return kind


def _write(samples: Tensor, out: str, kind: str, start: int) -> None:
    if kind == ".png":
        save_png(out, picture(samples))
    elif kind == ".npz":
        array = (samples if samples.ndim == 2 else to_uint8(samples).permute(0, 2, 3, 1)).numpy()
        write_atomically(out, lambda file: np.savez_compressed(file, samples=array))
    elif samples.ndim == 2:
        raise ConfigError(f"out={out}: points have no pictures of their own; use out=FILE.png or "
                          "out=FILE.npz")
    else:
        for i, image in enumerate(samples, start):
            save_png(Path(out) / f"{i:06}.png", to_uint8(image).permute(1, 2, 0).expand(-1, -1, 3).numpy())


def main(cfg: DictConfig) -> None:
    """`sample.py`: writes samples as one picture (.png), an array (.npz), or a folder of pictures."""
    _check_numbers(cfg.n, cfg.start, cfg.seed, fewest=1)
    kind = _kind(cfg.out)
    gan = load(cfg.ckpt, cfg.device, cfg.ema)
    samples = gan.sample(cfg.n, cfg.seed, cfg.label, cfg.truncation, cfg.start)
    try:
        _write(samples, cfg.out, kind, cfg.start)
    except OSError as error:  # disk full, no permission
        raise UserError(f"out={cfg.out}: cannot be written: {error.strerror or error}") from error
    print(f"{cfg.n} samples -> {cfg.out}")
