import random

import numpy as np
import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.randomness import mix, seed_step

CPU = torch.device("cpu")


def drawn(*step) -> tuple[float, float, float]:
    """One number of each generator at the beginning of the step (seed, step, rank)."""
    seed_step(*step, CPU)
    return random.random(), np.random.random(), torch.rand((), dtype=torch.float64).item()


@pytest.fixture(autouse=True)
def _as_before():
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


def test_the_same_step_draws_the_same_numbers():
    first = drawn(3, 17, 1)
    drawn(3, 18, 0)
    assert drawn(3, 17, 1) == first


def test_every_seed_step_and_rank_draws_its_own():
    """Neighbours too, and those that a sum or a product of the three would take for one another."""
    draws = [drawn(seed, step, rank) for seed in range(4) for step in range(8) for rank in range(4)]
    for one_generator in zip(*draws, strict=True):
        assert len(set(one_generator)) == 4 * 8 * 4


def test_mix():
    values = [mix(a, b) for a in range(80) for b in range(-40, 40)]
    assert len(set(values)) == 80 * 80
    assert all(0 <= value < 2**63 for value in values)
    assert mix(1, 2) != mix(1, 2, 0)


def test_seeds_that_no_generator_takes():
    assert mix(2**63 - 1) != mix(0)
    for seed in (-1, 2**63):
        with pytest.raises(ConfigError, match=f"seed={seed}: must be from 0 to 2.63 - 1"):
            mix(seed)
