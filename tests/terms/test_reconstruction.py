import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gan_lightning.build import build_task
from gan_lightning.errors import ConfigError
from gan_lightning.networks.fastgan import Discriminator
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.reconstruction import Reconstruction

SMALL = ["model=fastgan", "data=digits", "data.resolution=32", "model.width=2"]


def step_with(d, real):
    logits = torch.zeros(len(real), 1)
    return Step(d, d, real, real, logits, logits, None, Clock(0, 0), {})


def test_it_is_the_mean_absolute_difference_of_the_whole_and_a_quarter():
    d = Discriminator(32, 1, width=2, norm="none").double()
    real = torch.rand(3, 1, 32, 32, dtype=torch.float64) * 2 - 1
    possible = []
    for part in range(4):
        pairs = d.reconstruct(real, part)
        possible.append(sum((decoded - target).abs().sum().item() / target.numel() for decoded, target in pairs))
    term, drawn = Reconstruction(), set()
    for _ in range(40):
        value = term(step_with(d, real)).item()
        nearest = min(range(4), key=lambda part: abs(possible[part] - value))
        assert value == pytest.approx(possible[nearest], abs=1e-12)
        drawn.add(nearest)
    assert len(set(possible)) == 4 and drawn == {0, 1, 2, 3}


def test_reals_are_drawn_again_as_d_sees_them():
    """Decoders of a constant, images that the augmentation makes black: the distance is known."""
    d = Discriminator(32, 1, width=2, norm="none").double()
    for decoder in d.decoders.values():
        nn.init.zeros_(decoder.draw.weight), nn.init.constant_(decoder.draw.bias, 0.5)
    term = Reconstruction()
    real = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    term.bind(SimpleNamespace(d=d))    # a task that knows of no augmentation
    far = (math.tanh(0.5) - real).abs()
    plain = [far.mean() + far[..., i:i + 16, j:j + 16].mean() for i in (0, 16) for j in (0, 16)]
    assert min(abs(term(step_with(d, real)) - value) for value in plain) < 1e-12
    term.bind(SimpleNamespace(d=d, augment=lambda x: torch.full_like(x, -1)))
    assert term(step_with(d, real)).item() == pytest.approx(2 * (math.tanh(0.5) + 1))


def test_the_task_s_augmentation_reaches_it(config):
    task = build_task(config(*SMALL, "model.conditional=false", "loss=hinge", "augment=diffaugment"))
    seen = []
    task.d.to_16.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    targets = []
    reconstruct = task.d.reconstruct
    task.d.reconstruct = lambda x, part: targets.append(x) or reconstruct(x, part)
    batch = {"real": torch.rand(4, 1, 32, 32) * 2 - 1, "label": torch.zeros(4, dtype=torch.int64)}
    sum(task.d_loss(batch, Clock(0, 0)).values()).backward()
    (target,) = targets
    assert len(seen) == 3 and not target.requires_grad
    assert all((changed - real).abs().mean() > 0.05 for changed, real in zip(target, batch["real"], strict=True))


def test_a_decoder_that_draws_the_image_costs_nothing():
    class Perfect(nn.Module):
        def reconstruct(self, x, part):
            return [(x.clone(), x), (x[..., :2], x[..., :2])]

    real = torch.rand(2, 1, 4, 4)
    assert Reconstruction()(step_with(Perfect(), real)).item() == 0.0


def test_descent_on_it_draws_the_image():
    d = Discriminator(32, 1, width=4)
    real = torch.linspace(-0.9, 0.9, 32).expand(4, 1, 32, 32) * torch.tensor([1.0, -1.0, 0.5, 0.1])[:, None, None, None]
    optimizer, term = torch.optim.Adam(d.parameters(), 1e-2), Reconstruction()
    before = term(step_with(d, real)).item()
    for _ in range(40):
        optimizer.zero_grad()
        term(step_with(d, real)).backward()
        optimizer.step()
    assert term(step_with(d, real)).item() < before / 3


@pytest.mark.parametrize("every, weight", [(1, 1.0), (4, 0.5)])
def test_the_companion_adds_it_to_any_loss(config, every, weight):
    """Decoders learn through it and through nothing else; lazily it is as strong on average."""
    cfg = config(*SMALL, "model.conditional=false", "loss=hinge", f"loss.d_terms.reconstruction.every={every}",
                 f"loss.d_terms.reconstruction.weight={weight}")
    task = build_task(cfg)
    batch = {"real": torch.rand(4, 1, 32, 32) * 2 - 1, "label": torch.zeros(4, dtype=torch.int64)}
    losses = task.d_loss(batch, Clock(0, 0))
    assert set(losses) == {"adv", "reconstruction"} and losses["reconstruction"] > 0
    losses["adv"].backward(retain_graph=True)
    assert all(weight.grad is None for weight in task.d.decoders.parameters())
    losses["reconstruction"].backward()
    assert all(weight.grad.abs().max() > 0 for weight in task.d.decoders.parameters())
    assert set(task.g_loss(batch, Clock(0, 0))) == {"adv"}
    if every > 1:
        assert set(task.d_loss(batch, Clock(1, 0))) == {"adv"}


@pytest.mark.parametrize("settings", [["model=dcgan", "term=[reconstruction]"], [*SMALL, "model.decoders=false"]])
def test_without_decoders_it_is_refused(config, settings):
    with pytest.raises(ConfigError, match=r"loss.d_terms.reconstruction: .*model=fastgan.*or set it to null"):
        build_task(config(*settings))


def test_it_can_be_left_out(config):
    task = build_task(config(*SMALL, "model.decoders=false", "loss.d_terms.reconstruction=null"))
    assert task.d.decoders is None and "reconstruction" not in task.objective.d_terms


def test_it_reaches_the_decoders_beneath_a_head(config):
    from gan_lightning.conditioning.base import Conditioned, Head

    d = Conditioned(Discriminator(32, 1, width=2, norm="none"), lambda num_features: Head())
    value = Reconstruction()(step_with(d, torch.rand(2, 1, 32, 32)))
    value.backward()
    assert all(weight.grad is not None for weight in d.backbone.decoders.parameters())
