"""The engine, by what it does to weights."""

from collections import Counter

import pytest
import torch
from torch import nn

from gan_lightning.build import build_module
from gan_lightning.errors import TrainingDiverged
from gan_lightning.module import GANModule
from gan_lightning.randomness import seed_step
from gan_lightning.tasks.generation import Generation

TINY = ["model=mlp", "data=digits"]


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def count_steps(monkeypatch) -> Counter:
    counts = Counter()
    for player in ("d_loss", "g_loss"):
        original = getattr(Generation, player)

        def counted(self, batch, clock, original=original, player=player):
            counts[player] += 1
            counts[f"{player} clock"] = clock.step
            return original(self, batch, clock)

        monkeypatch.setattr(Generation, player, counted)
    return counts


@pytest.mark.parametrize("n_critic", [1, 2, 5])
def test_d_steps_per_g_step(train, monkeypatch, n_critic):
    counts = count_steps(monkeypatch)
    module = train(*TINY, f"loss.n_critic={n_critic}", f"max_kimg={0.016 * n_critic * 6}")
    assert counts["g_loss"] == 6 and counts["d_loss"] == 6 * n_critic
    assert counts["g_loss clock"] == 5 and counts["d_loss clock"] == 6 * n_critic - 1
    assert module.steps == module.trainer.global_step == 6
    assert module.nimg == 6 * n_critic * 16


def test_the_same_as_a_plain_loop(train, config):
    """Two players, Adam, n_critic 2, EMA: written out in plain PyTorch, the same weights."""
    overrides = [*TINY, "data.batch_size=16", "loss.n_critic=2", "optim.ema.rampup=null", "optim.ema.half_life_kimg=0.1"]
    module = train(*overrides, "max_kimg=0.16")

    plain = build_module(config(*overrides))
    g, d, average = plain.task.g, plain.task.d, plain.ema.network
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, betas=(0.5, 0.999), fused=True)
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, betas=(0.5, 0.999), fused=True)
    order = iter(module.trainer.datamodule.data.loader(batches_per_step=1, seed=0))
    bce = nn.functional.binary_cross_entropy_with_logits
    for step in range(5):
        seed_step(0, step, 0, torch.device("cpu"))
        for _ in range(2):
            real = next(order)["real"].float() / 127.5 - 1
            fake = g(torch.randn(16, g.z_dim)).detach()
            real_score, fake_score = d(real), d(fake)
            loss = bce(real_score, torch.ones(16, 1)) + bce(fake_score, torch.zeros(16, 1))
            d_adam.zero_grad()
            loss.backward()
            d_adam.step()
        score = d(g(torch.randn(16, g.z_dim)))
        g_adam.zero_grad()
        bce(score, torch.ones(16, 1)).backward()
        g_adam.step()
        for a, b in zip(average.parameters(), g.parameters(), strict=True):
            a.data.lerp_(b.data, 1 - 0.5 ** (32 / 100))
    start = build_module(config(*overrides))
    for mine, theirs, first in ((module.task.g, g, start.task.g), (module.task.d, d, start.task.d),
                                (module.ema.network, average, start.ema.network)):
        mine, theirs, first = (nn.utils.parameters_to_vector(net.parameters()) for net in (mine, theirs, first))
        assert torch.allclose(mine, theirs, rtol=0, atol=2e-5)  # the same sums in another order
        assert (mine - first).abs().max() > 1e-4


class FixedLatents(Generation):
    """z as a function of the real image, so that it does not depend on how images are batched."""

    def generate(self, batch, g):
        z = torch.stack([torch.sin(batch["real"].flatten(1).sum(1) * k) for k in range(1, g.z_dim + 1)], 1)
        return super().generate(batch | {"z": z}, g)


@pytest.mark.parametrize("loss, term", [("non_saturating", "[]"), ("rpgan", "[]"), ("hinge", "[drift]"), ("lsgan", "[r1]")])
def test_accumulation_equals_the_large_batch(train, loss, term):
    settings = ["model=mlp", f"loss={loss}", f"term={term}", "task._target_=tests_fixed_latents.FixedLatents",
                "trainer.precision=64-true", "max_kimg=0.256"]
    import sys
    import types

    sys.modules["tests_fixed_latents"] = module = types.ModuleType("tests_fixed_latents")
    module.FixedLatents = FixedLatents
    large = train(*settings, "data.batch_size=32")
    split = train(*settings, "data.batch_size=8", "optim.accumulate=4")
    assert large.steps == split.steps == 8
    for a, b in zip(large.task.parameters(), split.task.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
    start = build_weights(train, settings)
    assert max((a - b).abs().max() for a, b in zip(large.task.parameters(), start, strict=True)) > 1e-3


def build_weights(train, settings):
    module = train(*settings, "data.batch_size=32", "optim.g.lr=0.0", "optim.d.lr=0.0")
    return list(module.task.parameters())


def test_same_seed_same_weights(train):
    first, again, other = (train(*TINY, "model=dcgan", "model.width=8", "loss=wgan_gp", "max_kimg=0.4", f"seed={s}")
                           for s in (1, 1, 2))
    assert equal(weights(first), weights(again))
    assert not equal(weights(first), weights(other))


@pytest.mark.parametrize("watcher, files", [("samples", "samples/kimg_*.png"), ("losses", "metrics.csv"),
                                            ("checkpoint", "checkpoints/*.ckpt"), ("watchdog", "metrics.csv")])
def test_watching_changes_no_weight(train, tmp_path, watcher, files):
    """Nor a batch-norm statistic of the generator in training, which is the one sampled from where there is no EMA."""
    settings = ["model=dcgan", "data=digits", "model.width=8", "model.conditional=false", "optim.ema=null",
                "max_kimg=0.16"]
    run = tmp_path / "watched"
    others = {"progress", "losses", "watchdog", "samples", "curves", "checkpoint"} - {watcher}
    quiet = train(*settings)
    watched = train(*settings, "callbacks=default", *[f"callbacks.{other}=null" for other in sorted(others)],
                    f"callbacks.{watcher}.every_kimg=0.03", "logger=csv", f"logger.csv.path={run}/metrics.csv",
                    run_dir=run)
    assert equal(weights(quiet), weights(watched))
    assert any("running_mean" in name for name in weights(watched.task.g))
    assert len(list(run.glob(files))) >= (1 if watcher in ("losses", "watchdog") else 2)
    if watcher in ("losses", "watchdog"):
        assert len((run / "metrics.csv").read_text().splitlines()) > 5


def test_changing_the_loss_changes_gs_weights(train):
    trained = {loss: weights(train(*TINY, f"loss={loss}", "max_kimg=0.2", "loss.n_critic=1", "loss.d_terms=null",
                                   "optim.g.lr=1e-3", "optim.d.lr=1e-3", "optim.g.betas=[0,0.9]",
                                   "optim.d.betas=[0,0.9]", "loss.d_constraints=null").task.g)
               for loss in ("minimax", "non_saturating", "lsgan", "hinge", "wgan", "ragan", "rpgan")}
    names = list(trained)
    assert all(not equal(trained[a], trained[b]) for i, a in enumerate(names) for b in names[:i])


def test_a_constraint_on_d_holds_whenever_a_step_begins(train, monkeypatch):
    """WGAN's clipping: D's largest weight before each step of either player, and after the last."""

    def largest_weights(*overrides):
        seen = []
        for player in ("d_loss", "g_loss"):
            original = getattr(Generation, player)

            def measured(self, batch, clock, original=original):
                seen.append(largest(self.d))
                return original(self, batch, clock)

            monkeypatch.setattr(Generation, player, measured)
        module = train(*TINY, "loss=wgan", "max_kimg=0.16", *overrides)
        monkeypatch.undo()
        assert module.steps == 2 and len(seen) == 2 * (5 + 1)
        return [*seen[1:], largest(module.task.d)]

    def largest(d):
        return max(weight.abs().max().item() for weight in d.parameters())

    assert max(largest_weights()) <= 0.01
    assert min(largest_weights("loss.d_constraints.clip=null")) > 0.02


def test_learning_rate_decay(train):
    module = train(*TINY, "optim/decay=linear", "max_kimg=0.16", "optim.d.lr=1e-3")
    lrs = [o.param_groups[0]["lr"] for o in module.trainer.optimizers]  # of the last step, which began at 144 images
    assert lrs == pytest.approx([1e-3 * 0.1, 2e-4 * 0.1])


@pytest.mark.parametrize("decay, end", [("constant", 1.0), ("linear", 0.1)])
def test_scaled_learning_rates_survive_a_resume(train, tmp_path, monkeypatch, decay, end):
    """The scale is on top of the decay, and a checkpoint that has none, as older ones, means 1."""
    run, settings = tmp_path / "run", [*TINY, f"optim/decay={decay}", "callbacks=default", "callbacks.samples=null"]
    original = GANModule.on_train_start

    def scaled(self):
        self.lr_scale *= 0.25
        original(self)

    monkeypatch.setattr(GANModule, "on_train_start", scaled)
    train(*settings, "max_kimg=0.08", run_dir=run)
    monkeypatch.undo()
    module = train(*settings, "max_kimg=0.16", "ckpt_path=last", run_dir=run)
    assert [o.param_groups[0]["lr"] for o in module.trainer.optimizers] == pytest.approx([2e-4 * 0.25 * end] * 2)

    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["gan_lightning"].pop("lr_scale") == 0.25
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    module = train(*settings, "max_kimg=0.32", "ckpt_path=last", run_dir=run)
    assert module.lr_scale == 1.0


def test_a_recovery_takes_the_place_of_the_error(train, monkeypatch):
    original, errors = Generation.d_loss, []

    def broken(self, batch, clock):
        return {name: loss * (float("nan") if clock.step == 3 else 1) for name, loss in original(self, batch, clock).items()}

    monkeypatch.setattr(Generation, "d_loss", broken)
    monkeypatch.setattr(GANModule, "on_train_start", lambda self: setattr(self, "recovery", lambda error: False))
    with pytest.raises(TrainingDiverged, match="d/adv became nan in generator step 3"):
        train(*TINY, "max_kimg=0.1")

    def recover(module, error):
        errors.append(str(error))
        module.restore(start)
        return True

    module = build_module_of(train, monkeypatch)
    start = {"state_dict": weights(module), "optimizer_states": [o.state_dict() for o in module.trainer.optimizers]}
    monkeypatch.setattr(GANModule, "on_train_start", lambda self: setattr(self, "recovery", lambda e: recover(self, e)))
    module = train(*TINY, "max_kimg=0.1")
    assert errors == ["d/adv became nan in generator step 3"]
    assert module.steps == 7 and equal(weights(module), start["state_dict"])  # found at the end


def build_module_of(train, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(GANModule, "on_train_start", lambda self: None)
        return train(*TINY, "max_kimg=0.032")


def test_clipping(train):
    settings = [*TINY, "optim=sgd", "optim.g.lr=1.0", "optim.d.lr=1.0", "max_kimg=0.016", "optim.ema=null"]
    start = train(*settings, "optim.g.lr=0.0", "optim.d.lr=0.0").task
    for setting, d_norm, g_norm in (("optim.d_clip=1e-3", 1e-3, None), ("optim.g_clip=1e-4", None, 1e-4)):
        task = train(*settings, setting).task
        for player, expected in (("d", d_norm), ("g", g_norm)):
            moved = torch.cat([(a - b).flatten() for a, b in zip(
                getattr(task, player).parameters(), getattr(start, player).parameters(), strict=True)]).norm().item()
            assert moved == pytest.approx(expected, rel=1e-3) if expected else moved > 2e-4


def test_no_gradients_for_the_player_who_does_not_move(train, monkeypatch):
    seen = []
    for player, other in (("d_loss", "g"), ("g_loss", "d")):
        original = getattr(Generation, player)

        def watched(self, batch, clock, original=original, other=other):
            seen.append(any(p.requires_grad for p in getattr(self, other).parameters()))
            return original(self, batch, clock)

        monkeypatch.setattr(Generation, player, watched)
    module = train(*TINY, "max_kimg=0.032")
    assert seen == [False] * 4
    assert all(p.requires_grad for p in module.task.parameters())  # and all is as before in the end


@pytest.mark.parametrize("player, term", [("d", "adv"), ("g", "adv")])
def test_a_loss_that_is_not_finite_stops_training(train, monkeypatch, tmp_path, player, term):
    original = getattr(Generation, f"{player}_loss")

    def broken(self, batch, clock):
        losses = original(self, batch, clock)
        return {name: loss * float("nan") if clock.step == 7 else loss for name, loss in losses.items()}

    monkeypatch.setattr(Generation, f"{player}_loss", broken)
    with pytest.raises(TrainingDiverged, match=rf"{player}/{term} became nan in generator step 7; the last good "
                                               r"checkpoint is .*last.ckpt") as error:
        train(*TINY, "max_kimg=1", "callbacks=default", "callbacks.checkpoint.every_kimg=0.05",
              run_dir=tmp_path / "run")
    good = torch.load(str(error.value).split("checkpoint is ")[1].split(";")[0], weights_only=True)
    assert good["gan_lightning"]["steps"] <= 7
    assert all(value.isfinite().all() for value in good["state_dict"].values())
