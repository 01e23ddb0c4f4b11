"""Every loss, with every term, on 2 and 3 processes: the weights that one process gets from the joint batch."""

from itertools import cycle
from pathlib import Path

import pytest
import torch

CONF = Path(__file__).parents[2] / "conf"
LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
TERMS = [None, *sorted(path.stem for path in (CONF / "term").glob("*.yaml"))]
GAMES = [f"{loss}+{term}" if term else loss for loss in LOSSES for term in TERMS]
ROUNDS, BATCH = 3, 12

# Adam's usual epsilon of 1e-8 would enlarge the rounding of gradients that are zero in theory, such as that of the
# last bias under a relativistic loss.
SMALL = ["model=mlp", "model.z_dim=6", "model.generator.hidden=[12]", "model.discriminator.hidden=[12,12]",
         f"data.batch_size={BATCH}", "trainer.precision=64-true", "task._target_=random_by_image.RandomByImage",
         "optim.g.lr=1e-2", "optim.d.lr=1e-2", "optim.g.eps=1e-4", "optim.d.eps=1e-4"]
# Turns of different length, so that all meet all.
MIXED = [cycle([["loss.n_critic=1"], ["loss.n_critic=2"], ["loss.n_critic=3"]]),
         cycle([[], ["optim.d_clip=0.05"], ["optim.g_clip=0.01"], ["optim.d_clip=0.1", "optim.g_clip=0.02"]]),
         cycle([["optim.accumulate=1"], ["optim.accumulate=2"], [], [], ["optim.accumulate=2"]])]


def length(settings: list[str]) -> str:
    """ROUNDS rounds, in kimg."""
    values = dict(setting.split("=", 1) for setting in settings)
    batches = int(values.get("loss.n_critic", 1)) * int(values.get("optim.accumulate", 1))
    return f"max_kimg={ROUNDS * BATCH * batches / 1000}"


def overrides(game: str, every: int) -> list[str]:
    loss, _, term = game.partition("+")
    settings = [*SMALL, f"loss={loss}", *sum((next(turn) for turn in MIXED), [])]
    if term:
        player = "d" if "d_terms" in (CONF / "term" / f"{term}.yaml").read_text().splitlines()[0] else "g"
        settings += [f"term=[{term}]", f"loss.{player}_terms.{term}.every={every}"]
    return [*settings, length(settings)]


JOBS = {game: {"overrides": overrides(game, 1 + i % 2), "worlds": [1, 2, 3]} for i, game in enumerate(GAMES)}


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_weights_are_those_of_one_process_with_the_joint_batch(games, game):
    one = games(game, 1)
    assert "error" not in one, one
    for world in (2, 3):
        for rank in range(world):
            some = games(game, world, rank)
            assert "error" not in some, some
            assert (some["steps"], some["nimg"]) == (one["steps"], one["nimg"])
            assert difference(one["state"], some["state"]) < 1e-12
            assert difference(flat(one["optimizers"]), flat(some["optimizers"])) < 1e-12


def flat(optimizers: list[dict]) -> dict:
    return {(i, weight, name): torch.as_tensor(value) for i, state in enumerate(optimizers)
            for weight, values in state.items() for name, value in values.items()}


def difference(one: dict, other: dict) -> float:
    assert one.keys() == other.keys()
    return max(float((value - other[name]).abs().max()) for name, value in one.items())
