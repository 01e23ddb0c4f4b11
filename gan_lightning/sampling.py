"""Samples from a trained generator: what `sample.py` and `gan_lightning.load` do.

Imports networks and torch alone: no data set, logger, metric or Lightning.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, isfinite
from pathlib import Path
from typing import Any, get_args

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gan_lightning.build import build_task
from gan_lightning.checkpoint import locate, read_checkpoint
from gan_lightning.errors import CheckpointError, ConfigError, UserError
from gan_lightning.modes import evaluating
from gan_lightning.networks.layers import check_choice
from gan_lightning.networks.noise import Mode, noise_layers, number_noise, set_noise
from gan_lightning.randomness import check_seed
from gan_lightning.sample_files import kind_of, write
from gan_lightning.standing import standing_statistics
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
        self._psi: float | None = None
        self._noise: Mode = "const"

    @property
    def num_classes(self) -> int:
        """How many labels the generator knows; 0 if it takes none."""
        return getattr(self.network, "num_classes", 0)

    @property
    def psi(self) -> float | None:
        """Share of their distance from the average style that styles keep, of generators that have styles (Karras et
        al. 2019, arXiv:1812.04948, app. B); None leaves all as they are."""
        return self._psi

    @psi.setter
    def psi(self, value: float | None) -> None:
        if value is not None and not hasattr(self.network, "psi"):
            raise ConfigError(f"psi={value}: this generator has no styles to move (model=stylegan2 has); choose "
                              "truncation, which is of latents")
        if value is not None and not isfinite(value):
            raise ConfigError(f"psi={value}: must be a finite number; 1 leaves styles as they are, 0 is their mean")
        self._psi = value

    @property
    def has_noise(self) -> bool:
        """Whether the generator adds noise between its layers."""
        return bool(noise_layers(self.network))

    @property
    def noise(self) -> Mode:
        """That noise: `const`, the same for all samples; `none`; `random`, sample i's a function of seed and i."""
        return self._noise

    @noise.setter
    def noise(self, value: Mode) -> None:
        check_choice("noise", value, get_args(Mode))
        if value != "const" and not self.has_noise:
            raise ConfigError(f"noise={value}: this generator has no noise between its layers (model=stylegan2 and "
                              "model=fastgan have)")
        self._noise = value

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
        batch = self._on_device(self.task.sample_batch(indices, seed, labels, truncation))
        self.number_noise(indices, seed)
        return self.task.generate(batch, self.network), batch.get("label")

    @torch.no_grad()
    def latents(self, n: int, seed: int = 0, truncation: float | None = None, start: int = 0) -> Tensor:
        """The latents of samples number `start` to `start + n`, (n, z_dim) float32."""
        _check_numbers(n, start, seed)
        return self.task.sample_batch(range(start, start + n), seed, None, truncation)["z"]

    @torch.no_grad()
    def images(self, z: Tensor, label: int | Tensor | None = None, batch_size: int = 32) -> Tensor:
        """The images (n, C, H, W), float32 in [-1, 1], of these latents, and of these labels where there are any.

        Random noise is that of samples 0 to n - 1 of seed 0.
        """
        if label is None and self.num_classes:
            raise ConfigError(f"label: this generator takes labels, from 0 to {self.num_classes - 1}: give one")
        labels = self._labels(len(z), label)
        with self.evaluating():
            return torch.cat([self._images(i, z[i:i + batch_size], None if labels is None else labels[i:i + batch_size])
                              for i in range(0, len(z), batch_size)])

    def _images(self, start: int, z: Tensor, labels: Tensor | None) -> Tensor:
        self.number_noise(range(start, start + len(z)))
        batch = self._on_device({"z": z} if labels is None else {"z": z, "label": labels})
        return self.task.generate(batch, self.network).cpu().float()

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        weight = next(self.network.parameters())
        return {name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
                for name, value in batch.items()}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The network in eval mode, with `psi` and `noise`, and afterwards as it was."""
        given = getattr(self.network, "psi", None)
        with evaluating(self.network):
            set_noise(self.network, self.noise)
            if self.psi is not None:
                self.network.psi = self.psi
            try:
                yield
            finally:
                set_noise(self.network, "const")
                if self.psi is not None:
                    self.network.psi = given

    def number_noise(self, numbers: range, seed: int = 0) -> None:
        """Before a batch with random noise: whose noise it is to be. To be called within `evaluating`."""
        if self.noise == "random":
            number_noise(self.network, numbers, seed)

    def take_standing_statistics(self, batches: int, seed: int = 0, truncation: float | None = None,
                                 batch_size: int = 64) -> None:
        """Replaces the batch-norm statistics by those of samples drawn here (Brock et al. 2019, app. C), of which the
        network in training had seen its last ones alone.

        Args:
            batches: of `batch_size` latents each.
        """
        def feed(i: int) -> None:
            self.draw(range(i * batch_size, (i + 1) * batch_size), seed, None, truncation)

        if batches < 0:
            raise ConfigError(f"standing={batches}: must be a number of batches, or 0 to keep training's statistics")
        with self.evaluating():
            if not standing_statistics(self.network, feed, batches):
                raise ConfigError(f"standing={batches}: this generator has no batch normalisation; choose standing=0")

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


def main(cfg: DictConfig) -> None:
    """`sample.py`: writes samples, or what else `show` names, in the form that the end of `out` names."""
    from gan_lightning.exploring import shown  # which imports this file

    _check_numbers(cfg.n, cfg.start, cfg.seed, fewest=1)
    if cfg.fps < 1:
        raise ConfigError(f"fps={cfg.fps}: must be at least 1")
    kind = kind_of(cfg.out, film=cfg.show == "walk")
    gan = load(cfg.ckpt, cfg.device, cfg.ema)
    gan.psi, gan.noise = cfg.psi, cfg.noise
    if cfg.standing:
        gan.take_standing_statistics(cfg.standing, cfg.seed, cfg.truncation)
    samples, columns = shown(gan, cfg)
    try:
        write(samples, cfg.out, kind, cfg.start, columns, cfg.fps)
    except OSError as error:  # disk full, no permission
        raise UserError(f"out={cfg.out}: cannot be written: {error.strerror or error}") from error
    print(f"{len(samples)} {'frames' if cfg.show == 'walk' else 'samples'} -> {cfg.out}")
