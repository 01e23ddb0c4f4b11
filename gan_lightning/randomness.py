"""Random numbers as functions of what they are for: nothing to save, nothing to restore."""

import random
import struct
from hashlib import blake2b

import numpy as np
import torch

from gan_lightning.errors import ConfigError


def check_seed(seed: int) -> None:
    """Raises ConfigError unless `seed` fits the 63 bits that every generator takes."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed={seed}: must be from 0 to 2^63 - 1")


def mix(seed: int, *numbers: int) -> int:
    """A seed in [0, 2^63) that depends on `seed` and every number given, on every machine the same."""
    check_seed(seed)
    packed = struct.pack(f"<{1 + len(numbers)}q", seed, *numbers)
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "little") >> 1


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Sets every generator for one training step: a resumed run draws what an uninterrupted one would have.

    Goes to the default generators directly: `torch.manual_seed` takes 50 times as long.
    """
    value = mix(seed, step, rank)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)
