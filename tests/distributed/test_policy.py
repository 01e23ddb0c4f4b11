"""What devices do to play one game: buffers, synchronised batch norm, missing gradients, and what all that sends."""

import pytest
import torch

MLP = ["model=mlp", "model.z_dim=6", "model.generator.hidden=[12]", "model.discriminator.hidden=[12,12]"]
DCGAN = ["model=dcgan", "model.width=4", "model.z_dim=6", "loss=hinge"]
COMMON = ["data.batch_size=12", "trainer.precision=64-true", "task._target_=random_by_image.RandomByImage",
          "optim.g.lr=1e-2", "optim.d.lr=1e-2", "optim.g.eps=1e-4", "optim.d.eps=1e-4"]
SYNC = [*DCGAN, *COMMON, "trainer.sync_batchnorm=true", "loss.n_critic=2", "optim.d_clip=0.1", "max_kimg=0.072"]
JOBS = {
    "sync": {"overrides": SYNC, "worlds": [1, 2, 3]},
    "labels": {"overrides": [*SYNC, "model.conditional=false", "optim.ema.bn_buffers=copy"], "worlds": [1, 2]},
    "still": {"overrides": [*DCGAN, *COMMON, "model.conditional=false", "optim.g.lr=0", "optim.d.lr=0", "max_kimg=0.036"], "worlds": [1, 2, 3]},
    "rare": {"overrides": [*MLP, *COMMON, "task._target_=random_by_image.Rare", "max_kimg=0.072"], "worlds": [1, 2, 3]},
    "seeds": {"overrides": [*MLP, *COMMON, "task._target_=random_by_image.NotesSeeds", "max_kimg=0.072"], "worlds": [2]},
    "derivatives": {"function": "batch_norms.derivatives", "worlds": [1, 2, 3]},
}
SENT = {
    "critics": [*MLP, "loss=hinge", "loss.n_critic=3"],
    "lazy": [*MLP, "loss=rpgan", "loss.n_critic=2", "loss.d_terms.r1.every=2", "loss.d_terms.r2.every=3"],
    "accumulated": [*MLP, "loss=wgan_gp", "loss.n_critic=2", "optim.accumulate=2"],
    "buffers": [*DCGAN, "loss.n_critic=2"],
    "averages": [*MLP, "loss=ragan", "term=[feature_matching]"],
}
JOBS |= {name: {"overrides": [*settings, *COMMON, "max_kimg=0.144"], "worlds": [2], "traffic": True}
         for name, settings in SENT.items()}
JOBS["longer"] = {"overrides": [*MLP, *COMMON, "max_kimg=0.288"], "worlds": [2], "traffic": True}
JOBS["shorter"] = {"overrides": [*MLP, *COMMON, "max_kimg=0.036"], "worlds": [2], "traffic": True}


def everyone(games, name: str, worlds=(2, 3)):
    for world in worlds:
        for rank in range(world):
            result = games(name, world, rank)
            assert "error" not in result, result["error"]
            yield result


@pytest.mark.slow
@pytest.mark.parametrize("name, worlds", [("sync", (2, 3)), ("labels", (2,))])
def test_synchronised_batch_norm_is_that_of_the_joint_batch(games, name, worlds):
    """Weights, running statistics, moments, the averaged G."""
    one = games(name, 1)
    assert any("running_var" in key for key in one["state"])
    for some in everyone(games, name, worlds):
        assert some["state"].keys() == one["state"].keys()
        for key, value in one["state"].items():
            assert torch.allclose(value, some["state"][key], rtol=0, atol=1e-12), key
        for mine, theirs in zip(one["optimizers"], some["optimizers"], strict=True):
            assert all(torch.allclose(mine[i][k], theirs[i][k], rtol=0, atol=1e-12) for i in mine for k in mine[i])


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("layer", ["maps", "vectors", "plain", "mean of all"])
def test_derivatives_of_synchronised_batch_norm(games, layer, world):
    one, parts = games("derivatives", 1)[layer], [games("derivatives", world, rank)[layer] for rank in range(world)]
    for name in ("y", "first", "second"):
        assert one[name].abs().max() > 1e-3
        assert torch.allclose(torch.cat([part[name] for part in parts]), one[name], rtol=1e-9, atol=1e-12), name
    for part in parts:
        assert all(torch.allclose(mine, theirs, rtol=0, atol=1e-12)
                   for mine, theirs in zip(part["buffers"], one["buffers"], strict=True))


@pytest.mark.slow
def test_buffers_are_the_same_everywhere_and_have_seen_every_image(games):
    """Weights that stand still: what enters G's first batch norm is then the same however images are dealt out."""
    one = games("still", 1)["state"]
    some = [result["state"] for result in everyone(games, "still", (2,))]
    buffers = [key for key in one if "running" in key]
    assert all(torch.equal(some[0][key], some[1][key]) for key in buffers)
    assert {key for key in one if key.endswith("num_batches_tracked")}
    assert all(torch.equal(state[key], one[key]) for state in some for key in one if key.endswith("tracked"))
    for state in (result["state"] for result in everyone(games, "still")):
        for network in ("task.g", "ema.network"):
            mean, variance = (f"{network}.norms.0.running_{moment}" for moment in ("mean", "var"))
            assert torch.allclose(state[mean], one[mean], rtol=0, atol=1e-12)
            assert one[mean].abs().max() > 1e-3
            # Spread between the devices' means is in no device's own variance.
            assert not torch.equal(state[variance], one[variance])
            assert torch.allclose(state[variance], one[variance], rtol=0.2)


@pytest.mark.slow
def test_a_weight_without_a_gradient_counts_as_zero(games):
    one = games("rare", 1)
    for some in everyone(games, "rare"):
        assert some["state"]["task.d.lacked"] > 0 and some["state"]["task.g.lacked"] > 0  # or nothing is tested
        for key, value in one["state"].items():
            assert "lacked" in key or torch.allclose(value, some["state"][key], rtol=0, atol=1e-12), key
        assert all(torch.equal(some["state"][f"task.{player}.never"], torch.ones(2)) for player in ("g", "d"))
        assert [set(state) for state in some["optimizers"]] == [set(state) for state in one["optimizers"]]
    assert (one["state"]["task.d.rare"] != 1).all()


@pytest.mark.slow
def test_random_numbers_differ_between_devices_and_between_steps(games):
    seeds = [result["noted"] for result in everyone(games, "seeds", (2,))]
    assert len(seeds[0]) == len(seeds[1]) == games("seeds", 2)["steps"] > 2
    assert len({*seeds[0], *seeds[1]}) == 2 * len(seeds[0])


def in_rounds(games, name: str) -> list[tuple]:
    return [sent for sent in games(name, 2)["traffic"] if sent[0] is not None]


def size(state: dict, prefix: str, buffers: bool = False) -> int:
    kinds = ("running_mean", "running_var")
    return sum(value.numel() * 8 for key, value in state.items()
               if key.startswith(prefix) and "tracked" not in key and key.endswith(kinds) == buffers)


@pytest.mark.slow
@pytest.mark.parametrize("name, rounds, critics", [("critics", 4, 3), ("lazy", 6, 2), ("accumulated", 3, 2),
                                                   ("buffers", 6, 2)])
def test_a_step_sends_the_gradients_of_who_steps_and_nothing_else(games, name, rounds, critics):
    """Buffers once a round, with G's; never those of the averaged G."""
    state = games(name, 2)["state"]
    d, g = size(state, "task.d."), size(state, "task.g.")
    buffers = size(state, "task.", buffers=True)
    assert (buffers > 0) == (name == "buffers") and d != g
    one_round = [("d", "allreduce_", d)] * critics + [("g", "allreduce_", g + buffers)]
    assert in_rounds(games, name) == one_round * rounds


@pytest.mark.slow
def test_losses_that_compare_with_the_mean_of_the_batch_send_that_mean(games):
    state = games("averages", 2)["state"]
    means, features = ("allreduce_", 2 * 8), ("allreduce_", 12 * 8)  # of logits; of D's features; each forth and back
    one_round = [("d", *means)] * 2 + [("d", "allreduce_", size(state, "task.d."))]
    in_g = [("g", *means), ("g", *features), ("g", *features), ("g", *means)]
    assert in_rounds(games, "averages") == (one_round + in_g + [("g", "allreduce_", size(state, "task.g."))]) * 12


@pytest.mark.slow
def test_nothing_is_sent_between_steps(games):
    """Lightning would ask for a SIGTERM before each batch; ours is asked for about once a second."""
    between = [[sent for sent in games(name, 2)["traffic"] if sent[0] is None] for name in ("shorter", "longer")]
    broadcasts = [sum("broadcast" in operation for _, operation, _ in sent) for sent in between]
    assert broadcasts[0] == broadcasts[1]
    assert len(between[1]) <= len(between[0]) + 4  # 21 rounds more
