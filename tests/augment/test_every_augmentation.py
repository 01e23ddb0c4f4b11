"""What all augmentations have in common, for each file in conf/augment."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.autograd import gradgradcheck

from gan_lightning.augment.ada import ADA
from gan_lightning.augment.apa import APA
from gan_lightning.augment.base import Augment
from gan_lightning.augment.blit import Blit
from gan_lightning.augment.blur_fade import BlurFade
from gan_lightning.augment.colour import Colour
from gan_lightning.augment.corruption import Corruption
from gan_lightning.augment.diffaugment import DiffAugment
from gan_lightning.augment.filtering import Filtering
from gan_lightning.augment.geometric import Geometric
from gan_lightning.augment.instance_noise import InstanceNoise
from gan_lightning.augment.sampling import by_corners, sample
from gan_lightning.build import build_module, build_task
from gan_lightning.config.check import check
from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.gradient import R1

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/augment").glob("*.yaml"))


def everything():
    return ADA({"blit": Blit(), "geometric": Geometric(), "colour": Colour(), "filtering": Filtering(),
                "corruption": Corruption()}, p=0.8)


CHANGING = {"ada": everything, "blur_fade": lambda: BlurFade(1.0), "diffaugment": DiffAugment,
            "instance_noise": lambda: InstanceNoise(0.1)}
AT_NOTHING = {"ada": lambda: ADA({"blit": Blit(), "geometric": Geometric(), "colour": Colour()}), "apa": APA,
              "blur_fade": lambda: BlurFade(0.0), "diffaugment": lambda: DiffAugment([]),
              "instance_noise": lambda: InstanceNoise(0.0)}


def seeded(augment, x, seed=5):
    torch.manual_seed(seed)
    return augment(x)


def images(n=2, channels=1, size=4):
    return torch.rand(n, channels, size, size, dtype=torch.float64) * 2 - 1


def test_the_lists_are_complete():
    assert sorted(AT_NOTHING) == sorted(set(NAMES) - {"none"}) == sorted([*CHANGING, "apa"])


@pytest.mark.parametrize("name", AT_NOTHING)
def test_at_strength_0_not_a_bit_changes(name):
    x, fake = images(50, 3, 8).float(), images(50, 3, 8).float()
    augment = AT_NOTHING[name]()
    assert torch.equal(augment(x), x) and torch.equal(augment.reals(x, fake), x)


@pytest.mark.parametrize("name", sorted(set(CHANGING) - {"blur_fade"}))
def test_each_image_is_changed_in_its_own_way(name):
    x = images(1, 3, 8).expand(40, -1, -1, -1)
    y = CHANGING[name]()(x)
    assert len(y.flatten(1).unique(dim=0)) > 35


@pytest.mark.parametrize("name", CHANGING)
def test_whose_image_it_is_makes_no_difference(name):
    """Neither does what else is in the batch: reals and fakes are changed alike, and each by itself."""
    augment, x, other = CHANGING[name](), images(6, 3, 8), images(6, 3, 8)
    mixed = torch.cat([x[:3], other[3:]])
    assert torch.equal(seeded(augment, x), seeded(augment, x))
    assert torch.allclose(seeded(augment, mixed), torch.cat([seeded(augment, x)[:3], seeded(augment, other)[3:]]))
    assert x.equal(x.clone()) and not torch.equal(seeded(augment, x), x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHANGING)
def test_two_derivatives(name, channels):
    augment, x = CHANGING[name](), images(2, channels, 4).requires_grad_()
    fast = channels > 1  # along random directions instead of all
    assert torch.autograd.gradcheck(lambda x: seeded(augment, x), x, fast_mode=fast)
    assert gradgradcheck(lambda x: seeded(augment, x), x, fast_mode=fast)


def test_sampling_is_that_of_torch_with_two_derivatives():
    x, grid = images(2, 2, 5).requires_grad_(), torch.rand(2, 3, 4, 2, dtype=torch.float64) * 2.4 - 1.2
    assert torch.equal(sample(x, grid), torch.nn.functional.grid_sample(x, grid, align_corners=False))
    assert torch.allclose(by_corners(x, grid), sample(x, grid), atol=1e-14)
    for function in (sample, by_corners):
        assert torch.autograd.gradcheck(lambda x: function(x, grid), x)  # noqa: B023
        assert gradgradcheck(lambda x: function(x, grid), x)  # noqa: B023


@pytest.mark.parametrize("name", CHANGING)
def test_r1_through_it_is_that_of_its_jacobian(name):
    """D(y) = w |y|^2 / 2 after the map y = A x + b has the gradient w A^T y at x, so R1 is w^2 |A^T y|^2 / 2, and its
    derivative by w is |A^T y|^2 w."""
    augment, x = CHANGING[name](), images(3, 1, 4)
    w = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    units = torch.eye(16, dtype=torch.float64).view(16, 1, 4, 4)
    zero = seeded(augment, torch.zeros_like(x))
    jacobian = torch.stack([(seeded(augment, unit.expand(3, -1, -1, -1)) - zero).flatten(1) for unit in units], 1)
    gradient = jacobian @ seeded(augment, x).flatten(1)[:, :, None]  # A^T y: (N, 16, 1)

    def critic(x, cond=None):
        return w * seeded(augment, x).square().flatten(1).sum(1, keepdim=True) / 2

    for leaf in (True, False):  # on the step's own logits, and on logits of its own
        real = x.clone().requires_grad_(leaf)
        value = R1()(Step(critic, None, real, real, critic(real) if leaf else None, None, None, Clock(0, 0), {}))
        expected = gradient.square().sum((1, 2)).mean() / 2
        assert value.item() == pytest.approx(0.49 * expected.item(), rel=1e-9)
        assert torch.autograd.grad(value, w)[0].item() == pytest.approx(1.4 * expected.item(), rel=1e-9)


def batch(n=8, size=8):
    return {"real": torch.rand(n, 1, size, size) * 2 - 1, "label": torch.randint(10, (n,))}


STRONG = {"ada": ["augment.p=0.6", "augment.kimg=0.2"], "apa": ["augment.p=0.6", "augment.kimg=0.2"],
          "blur_fade": ["augment.sigma=1"]}


@pytest.mark.parametrize("loss", ["hinge", "wgan_gp", "rpgan"])
@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_joins_any_loss(config, name, loss):
    cfg = config("data=digits", "model=dcgan", "model.width=8", f"loss={loss}", f"augment={name}", *STRONG.get(name, []))
    check(cfg)
    module = build_module(cfg)
    task, optimizers = module.task, dict(zip(("d", "g"), module.configure_optimizers(), strict=True))
    for step in range(2):
        for player, of in (("d", task.d_loss), ("g", task.g_loss)):
            optimizers[player].zero_grad()
            losses = of(batch(), Clock(step, 8 * step, 8))
            sum(losses.values()).backward()
            for parameter, weight in getattr(task, player).named_parameters():
                assert weight.grad is not None and weight.grad.isfinite().all()
                assert parameter == "last.bias" or weight.grad.any(), (player, parameter)
            optimizers[player].step()
            if player == "d":
                task.after_d_step()
    assert all(weight.isfinite().all() for weight in task.state_dict().values())


@pytest.mark.parametrize("name", ["ada", "apa"])
def test_p_moves_in_training_and_is_in_checkpoints(train, name):
    """D is told reals from noise in no time, so p must rise: each of the 6 rounds by 16 images of 1 kimg."""
    module = train("model=mlp", "loss=hinge", f"augment={name}", "augment.every=1", "augment.kimg=1",
                   "augment.target=-0.99", "max_kimg=0.096")
    assert module.state_dict()["task.augment.p"].item() == pytest.approx(0.096, abs=1e-6)


def test_options_on_the_command_line(config):
    cfg = config("augment=ada", "augment.transforms.colour=null", "augment.transforms.blit.rotate90=false",
                 "augment.transforms.corruption={_target_:gan_lightning.augment.corruption.Corruption,noise:0}",
                 "augment.transforms.geometric.chance=0.5",
                 "augment.schedule={_target_:gan_lightning.schedules.Cosine,start:0,end:0.55,kimg:10}")
    check(cfg)
    augment = build_task(cfg).augment
    assert list(augment.transforms) == ["blit", "geometric", "corruption"] and not augment.transforms.blit.rotate90
    assert augment.transforms.corruption.noise == 0 and augment.transforms.geometric.chance == 0.5
    augment.set_nimg(5000)
    assert augment.p.item() == pytest.approx(0.275)
    assert OmegaConf.select(config("augment=diffaugment", "augment.policy=[cutout]"), "augment.policy") == ["cutout"]


@pytest.mark.parametrize("name", ["ada", "blur_fade", "diffaugment"])
def test_points_are_no_images(name):
    with pytest.raises(ConfigError, match=f"augment={name}: it changes images"):
        CHANGING[name]()(torch.zeros(4, 2))
    assert Augment()(torch.zeros(4, 2)).shape == (4, 2)


def test_an_experiment_s_augmentation_can_be_switched_off(config):
    """Its settings stay behind, without a class that they could belong to."""
    settings = ["experiment=cifar10_r3gan", "model.width=16", "model.blocks_per_stage=1"]
    assert build_task(config(*settings)).augment is not None
    off = config(*settings, "augment=none")
    check(off, ["experiment=cifar10_r3gan", "augment=none"])
    assert build_task(off).augment is None
    with pytest.raises(ConfigError, match="augment has no _target_"):
        check(off, ["augment=none", "augment.schedule=0.5"])
