"""Consistency against pictures mirrored and shifted by hand."""

import pytest
import torch

from gan_lightning.build import build_task
from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.consistency import (
    Consistency,
    LatentConsistencyD,
    LatentConsistencyG,
    mirrored_and_shifted,
    squared_difference,
)


def made_step(critic, real, fake, z=None, generate=None, cond=None):
    return Step(critic, None, real, fake, critic(real, cond), critic(fake, cond), cond, Clock(0, 0), {}, z=z,
                generate=generate)


def images(n=6, size=8):
    return torch.randn(n, 2, size, size)


def brute_force(x, most):
    """Every picture that mirroring and shifting by up to `most` pixels can make of x (C, H, W)."""
    padded = torch.nn.functional.pad(x[None], [most] * 4, mode="reflect")[0]
    size = x.shape[-1]
    windows = [padded[:, i:i + size, j:j + size] for i in range(2 * most + 1) for j in range(2 * most + 1)]
    return [*windows, *(window.flip(2) for window in windows)]


def test_each_image_becomes_one_of_all_that_are_possible():
    x, seen = images(300), set()
    possible = [brute_force(image, 1) for image in x]
    for image, candidates in zip(mirrored_and_shifted(x, 0.125), possible, strict=True):
        (found,) = [i for i, candidate in enumerate(candidates) if torch.equal(image, candidate)]
        seen.add(found)
    assert seen == set(range(18))  # 3 x 3 shifts, mirrored or not, and in one batch


def test_shift_grows_with_the_resolution():
    x = torch.arange(32.0).expand(200, 1, 32, 32)  # a pixel tells its column
    changed = mirrored_and_shifted(x, 0.125)
    plain = changed[(changed[:, 0, 0, 15] < changed[:, 0, 0, 16])]
    assert set((plain[:, 0, 0, 15] - 15).tolist()) == set(range(-4, 5))
    assert torch.equal(mirrored_and_shifted(x[:, :, :1, :1], 0.125), x[:, :, :1, :1])


def asymmetric(x, cond=None):
    """Scores an image by its left upper pixel."""
    return x[:, :1, 0, 0]


@pytest.mark.parametrize("fakes", [False, True])
def test_squared_difference_of_scores(fakes):
    real, fake = images(), images()
    step, term = made_step(asymmetric, real, fake), Consistency(fakes=fakes)
    torch.manual_seed(1)
    value = term(step)
    torch.manual_seed(1)
    expected = (asymmetric(real) - asymmetric(mirrored_and_shifted(real, 0.125))).square().mean()
    if fakes:
        expected = expected + (asymmetric(fake) - asymmetric(mirrored_and_shifted(fake, 0.125))).square().mean()
    assert value.item() == pytest.approx(expected.item()) and value > 0.1


def test_a_critic_that_looks_at_nothing_but_the_mean_of_mirrored_images_is_consistent():
    step = made_step(lambda x, cond=None: x.flatten(1).mean(1, keepdim=True), images(), images())
    assert Consistency(shift=0.0)(step).item() == pytest.approx(0, abs=1e-12)


def test_both_sides_teach_the_critic():
    weight = torch.tensor(2.0, requires_grad=True)
    step = made_step(lambda x, cond=None: weight * asymmetric(x), images(), images())
    value = Consistency()(step)
    value.backward()
    assert weight.grad.item() == pytest.approx(value.item())  # d/dw of w^2 s is 2 value / w


def test_labels_of_the_images_go_with_their_changed_versions():
    cond = torch.arange(6)
    step = made_step(lambda x, cond: cond[:, None] + 0 * x[:, :1, 0, 0], images(), images(), cond=cond)
    assert Consistency(fakes=True)(step).item() == 0


def test_patches_move_with_the_image():
    scores = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert squared_difference(scores, scores.flip(3)).item() == 0
    assert squared_difference(scores, scores + 2).item() == 4


def line(z, cond=None):
    return 3 * z  # G(z) = 3 z, so a step dz costs (3 dz)^2


def test_latent_consistency_of_linear_players():
    """D(x) = 2 sum x of two coordinates: E (D(G(z)) - D(G(z + dz)))^2 = 4 * 9 * 2 std^2."""
    z = torch.randn(20000, 2)
    step = made_step(lambda x, cond=None: 2 * x.sum(1, keepdim=True), line(z), line(z), z, line)
    assert LatentConsistencyD(std=0.1)(step).item() == pytest.approx(4 * 9 * 2 * 0.01, rel=0.05)
    assert LatentConsistencyG(std=0.1)(step).item() == pytest.approx(-9 * 0.01, rel=0.05)


def test_g_learns_from_both_images_and_d_leaves_g_alone():
    slope, z = torch.tensor(3.0, requires_grad=True), torch.randn(8, 2)

    def generate(z, cond=None):
        return slope * z

    step = made_step(lambda x, cond=None: x.sum(1, keepdim=True), z, generate(z), z, generate)
    value = LatentConsistencyG(std=0.5)(step)
    value.backward()
    assert slope.grad.item() == pytest.approx(2 * value.item() / 3)  # -(s dz)^2 by s
    slope.grad = None
    assert not LatentConsistencyD()(step._replace(fake_logits=step.fake_logits.detach())).requires_grad


def test_consistency_is_refused_where_it_means_nothing(config):
    points = made_step(lambda x, cond=None: x[:, :1], torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ConfigError, match="data are points"):
        build_task(config("data=gaussians_ring", "model=toy2d", "loss=hinge", "term=[consistency]"))
    with pytest.raises(ConfigError, match="task that draws latents"):
        LatentConsistencyD()(points)
    with pytest.raises(ConfigError, match="shift=1.0: must be in"):
        Consistency(shift=1.0)
