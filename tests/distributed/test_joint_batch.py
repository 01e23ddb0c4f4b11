"""Every loss, every term with two of them, and every conditioning, on several processes: the weights that one gets from the joint batch."""

from itertools import cycle
from pathlib import Path

import pytest
import torch

CONF = Path(__file__).parents[2] / "conf"
LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
CANNOT_BE_COMPARED = {
    "path_length": "needs model=stylegan2, and its first latents of each device are not the first of the joint batch",
    "reconstruction": "needs model=fastgan, and draws a quarter for the batch, not for an image",
}
"""Terms whose random numbers the harness cannot give to images, or that need another model: why."""
TERMS = sorted({path.stem for path in (CONF / "term").glob("*.yaml")} - set(CANNOT_BE_COMPARED))
CONDITIONINGS = sorted({path.stem for path in (CONF / "conditioning").glob("*.yaml")} - {"native"})
ROUNDS, BATCH = 3, 12


def chosen() -> list[str]:
    """Each loss alone, and each term with the next two: all losses and terms, not all pairs."""
    found, losses = list(LOSSES), cycle(LOSSES)
    for term in TERMS:
        # Which fakes are best means nothing to a loss of pairs.
        fitting = (loss for loss in losses if term != "top_k" or loss not in ("ragan", "rpgan"))
        found += [f"{next(fitting)}+{term}" for _ in range(2)]
    found += [f"{next(losses)}+{conditioning}" for conditioning in CONDITIONINGS]
    return [*found, "wgan_gp+minibatch", "ragan+minibatch"]


GAMES = chosen()
ON_THREE = {game for i, game in enumerate(GAMES) if i % 3 == i // 3 % 3}  # not always with one of MIXED's settings

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


def package(term: str) -> str:
    """Where it is in the configuration: `loss.d_terms.r1`."""
    return (CONF / "term" / f"{term}.yaml").read_text().splitlines()[0].removeprefix("# @package ")


def overrides(game: str, every: int) -> list[str]:
    loss, _, term = game.partition("+")
    settings = [*SMALL, f"loss={loss}", *sum((next(turn) for turn in MIXED), [])]
    if term == "minibatch":
        settings += ["model.minibatch=discrimination"]
    elif term in CONDITIONINGS:
        settings += [f"conditioning={term}", *(["model.z_dim=14"] if term == "infogan" else [])]
    elif term:
        settings += [f"term=[{term}]", *([f"{package(term)}.every={every}"] if "_terms." in package(term) else [])]
    return [*settings, length(settings)]


JOBS = {game: {"overrides": overrides(game, 1 + i % 2), "worlds": [1, 2, 3] if game in ON_THREE else [1, 2]}
        for i, game in enumerate(GAMES)}


def test_every_loss_and_every_term_is_played():
    parts = [game.split("+") for game in GAMES]
    assert {loss for loss, *_ in parts} == set(LOSSES)
    assert {term for _, *rest in parts for term in rest} == {*TERMS, *CONDITIONINGS, "minibatch"}
    assert all((CONF / "term" / f"{term}.yaml").exists() for term in CANNOT_BE_COMPARED)


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_weights_are_those_of_one_process_with_the_joint_batch(games, game):
    one = games(game, 1)
    assert "error" not in one, one["error"]
    for world in JOBS[game]["worlds"][1:]:
        for rank in range(world):
            some = games(game, world, rank)
            assert "error" not in some, some["error"]
            assert (some["steps"], some["nimg"]) == (one["steps"], one["nimg"])
            assert difference(one["state"], some["state"]) < 1e-12
            assert difference(flat(one["optimizers"]), flat(some["optimizers"])) < 1e-12


def flat(optimizers: list[dict]) -> dict:
    return {(i, weight, name): torch.as_tensor(value) for i, state in enumerate(optimizers)
            for weight, values in state.items() for name, value in values.items()}


def difference(one: dict, other: dict) -> float:
    """The largest, in units of the value where that is above 1: squares of gradients can be large."""
    assert one.keys() == other.keys()
    return max(float(((value - other[name]).abs() / value.abs().clamp(min=1)).max()) for name, value in one.items())
