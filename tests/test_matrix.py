"""Every YAML composes and builds; every model plays every loss, or is refused for a stated reason."""

from pathlib import Path

import pytest
import torch

from gan_lightning.build import build_module, build_task, instantiate
from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Clock

CONF = Path(__file__).parent.parent / "conf"


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


SMALL = {  # the smallest size at which each model works
    "biggan": ["data=digits", "model.width=4"],
    "biggan_deep": ["data=digits", "model.width=8"],
    "dcgan": ["data=digits", "model.width=8"],
    "deconv_mlp": ["data=digits"],
    "fastgan": ["data=digits", "data.resolution=32", "model.width=8", "model.init=glorot"],
    "mlp": ["data=digits"],
    "mlp_conv": ["data=digits"],
    "progan": ["data=digits", "model.width=0.03", "model.z_dim=16", "model.kimg_per_stage=0", "model.kimg_fade=0"],
    "r3gan": ["data=digits", "model.width=16", "model.blocks_per_stage=1"],
    "resnet": ["data=digits", "model.width=8"],
    "sagan": ["data=digits", "model.width=8"],
    "stylegan2": ["data=digits", "model.channel_max=8", "model.w_dim=16", "model.z_dim=16", "model.mapping_layers=2"],
    "toy2d": ["data=gaussians_ring"],
    "upsample_mlp": ["data=digits"],
}


SHIFT_INVARIANT = ("Wasserstein", "RelativisticAverage", "RelativisticPairing")
"""Losses of score differences: the last bias of D cancels in them, and must have no gradient. (In the hinge loss
it has none either as long as all scores are within the margin.)"""


ZERO_AT_FIRST = {"r3gan": ("conv1", "conv2"), "sagan": ("query", "key", "value", "output")}
"""What has no gradient in the first round, since a layer after it starts at zero: parts of the weights' names, by the
model's module."""

OUTGROWN = {"progan": ("to_image.0", "from_image.0")}
"""What the whole networks do not use any more, and has no gradient at all."""

LINEAR_WHEN_CLIPPED = ("stylegan2", "progan")
"""Their critics have no norm: once weights are clipped to 0.01, maps are smaller than biases, which then decide every
activation. D is linear, and the gradients of reals and fakes cancel in a bias."""


def batch_for(cfg) -> dict[str, torch.Tensor]:
    n, c, r = 8, cfg.data.channels, cfg.data.resolution
    real = torch.randn(n, c) if r == 1 else torch.rand(n, c, r, r) * 2 - 1
    return {"real": real, "label": torch.randint(cfg.data.num_classes, (n,))}


def told_labels(model: str, conditional: bool) -> list[str]:
    """Said each time: a pairing of model and data may have a default of its own."""
    return [] if model == "toy2d" else [f"model.conditional={conditional}"]


def two_steps(cfg, conditional: bool = False) -> None:
    """Two rounds by hand; every weight of both players must get a finite gradient that is not all zero."""
    module = build_module(cfg)
    task = module.task
    assert bool(task.g.num_classes) == bool(task.d.num_classes) == conditional
    model = cfg.model.generator._target_.split(".")[-2]
    asleep, outgrown = ZERO_AT_FIRST.get(model, ()), OUTGROWN.get(model, ())
    linear = model in LINEAR_WHEN_CLIPPED and task.objective.d_constraints
    optimizers = dict(zip(("d", "g"), module.configure_optimizers(), strict=True))
    for step in range(2):
        for player, loss in (("d", task.d_loss), ("g", task.g_loss)):
            optimizers[player].zero_grad()
            losses = loss(batch_for(cfg), Clock(step, 0))
            assert all(value.isfinite() for value in losses.values()), losses
            sum(losses.values()).backward()
            for name, weight in getattr(task, player).named_parameters():
                if name.startswith(outgrown):
                    assert weight.grad is None
                    continue
                assert weight.grad is not None and weight.grad.isfinite().all(), (player, name)
                if step == 0 and any(part in name for part in asleep):
                    assert weight.grad.abs().max() == 0, (player, name)
                elif step and player == "d" and linear and name.endswith("bias"):
                    assert weight.grad.abs().max() < 1e-6
                elif player == "g" or not name.endswith("last.bias"):
                    assert weight.grad.abs().max() > 0, (player, name)
                elif player == "d" and cfg.loss.adversarial._target_.endswith(SHIFT_INVARIANT):
                    assert weight.grad.abs().max() < 1e-6
            optimizers[player].step()
            if player == "d":
                task.after_d_step()
    assert all(weight.isfinite().all() for weight in task.parameters())


def test_the_list_of_models_is_complete():
    assert choices("model") == sorted(SMALL)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("loss", choices("loss"))
@pytest.mark.parametrize("model", SMALL)
def test_every_model_plays_every_loss(config, model, loss, conditional):
    if conditional and model == "toy2d":
        pytest.skip("points have no conditional model")
    two_steps(config(f"model={model}", f"loss={loss}", *SMALL[model], *told_labels(model, conditional)), conditional)


NO_SUMMANDS = {"latent_step": lambda task: task.latent_step, "top_k": lambda task: task.objective.g_selects}
"""Choices of `term` that are another part of the game, and where it is."""

FOR_ONE_MODEL = {"path_length": "stylegan2", "reconstruction": "fastgan"}
"""Terms that refuse every other model."""


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("term", choices("term"))
@pytest.mark.parametrize("model", ["dcgan", "mlp", "resnet"])
def test_every_term_joins_a_loss(config, model, term, conditional):
    model = {"dcgan": FOR_ONE_MODEL[term]}.get(model) if term in FOR_ONE_MODEL else model
    if model is None:
        pytest.skip(f"for model={FOR_ONE_MODEL[term]} only")
    cfg = config(f"model={model}", "loss=hinge", f"term=[{term}]", *SMALL[model], *told_labels(model, conditional))
    two_steps(cfg, conditional)
    task = build_task(cfg)
    summands = task.objective.d_terms | task.objective.g_terms
    assert (NO_SUMMANDS[term](task) if term in NO_SUMMANDS else summands[term]) is not None


def test_terms_together_and_null(config):
    cfg = config("loss=wgan_gp", "term=[r1,feature_matching,drift]", "loss.d_terms.gradient_penalty=null")
    objective = instantiate(cfg.loss)
    assert list(objective.d_terms) == ["r1", "drift"] and list(objective.g_terms) == ["feature_matching"]


@pytest.mark.parametrize("model", ["dcgan", "deconv_mlp", "fastgan"])
@pytest.mark.parametrize("loss, term", [("wgan_gp", "[]"), ("dragan", "[]"), ("rpgan", "[]"), ("hinge", "[r1]"),
                                        ("lsgan", "[gradient_penalty]")])
def test_batch_norm_leaves_the_critic_under_a_penalty(config, model, loss, term):
    def batch_norms(*overrides):
        task = build_task(config(f"model={model}", *SMALL[model], *told_labels(model, False), *overrides))
        return [m for m in task.d.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]

    assert batch_norms("loss=hinge")
    assert not batch_norms(f"loss={loss}", f"term={term}")
    with pytest.raises(ConfigError, match="loss.d_terms.* batch normalisation .* set model.d_norm to none"):
        batch_norms(f"loss={loss}", f"term={term}", "model.d_norm=batch")


def test_a_loss_brings_what_its_paper_trains_with_and_the_user_wins(config):
    ours = config("loss=wgan_gp")
    assert (ours.optim.g.lr, list(ours.optim.d.betas), ours.loss.n_critic) == (1e-4, [0.0, 0.9], 5)
    user = config("loss=wgan_gp", "optim.g.lr=3e-4", "loss.n_critic=2", "optim.d.betas=[0.5,0.9]")
    assert (user.optim.g.lr, user.optim.d.lr, list(user.optim.d.betas), user.loss.n_critic) == (3e-4, 1e-4, [0.5, 0.9], 2)


@pytest.mark.parametrize("optim", choices("optim"))
@pytest.mark.parametrize("decay", choices("optim/decay"))
def test_every_optimizer(train, optim, decay):
    module = train("model=mlp", f"optim={optim}", f"optim/decay={decay}", "max_kimg=0.048")
    assert module.steps == 3


@pytest.mark.parametrize("init", ["normal", "glorot", "he", "orthogonal"])
def test_every_initialisation(config, init):
    two_steps(config("model=dcgan", *SMALL["dcgan"], *told_labels("dcgan", False), f"model.init={init}"))


@pytest.mark.parametrize("latent", ["normal", "uniform", "spherical"])
def test_every_latent(config, latent):
    two_steps(config("model=mlp", f"task.latent={latent}"))


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_builds(config, experiment):
    module = build_module(config(f"experiment={experiment}"))
    assert module.configure_optimizers()


@pytest.mark.parametrize("group", ["callbacks", "logger", "trainer", "task"])
def test_every_other_yaml_composes(config, group):
    for choice in choices(group):
        overrides = ["logger.csv.path=x"] if choice == "csv" else []
        if group == "logger" and choice in ("tensorboard", "wandb"):
            overrides = ["logger.csv.path=x", f"logger.{choice}.save_dir=x"]
        assert group in config(f"{group}={choice}", *overrides)


@pytest.mark.parametrize("settings, message", [
    (["data.resolution=30"], "data.resolution=30: dcgan makes 8 to 128 px"),
    (["model=resnet", "data.resolution=12"], "data.resolution=12: resnet makes 8, 16, 32, 48, 64, 128 px"),
    (["data=gaussians_ring"], "data.resolution=1: .*toy2d"),
    (["model=toy2d"], "data.resolution=8: toy2d works on points"),
    (["model.z_dim=0"], "model.z_dim: .* at least 1, got 0"),
    (["optim.accumulate=0"], "optim.accumulate=0: must be at least 1"),
    (["optim.g_clip=0"], "optim.g_clip=0: must be above 0"),
    (["optim.g.lr=-1"], "optim.g: Invalid learning rate"),
    (["model.init=gloriot"], "glorot"),
])
def test_refused(config, settings, message):
    from hydra.errors import InstantiationException

    with pytest.raises((ConfigError, InstantiationException)) as error:
        build_module(config(*settings)).configure_optimizers()
    cause = error.value if isinstance(error.value, ConfigError) else error.value.__cause__
    assert isinstance(cause, ConfigError)
    import re

    assert re.search(message, str(cause))
