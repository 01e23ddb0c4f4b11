"""Walks, class sweeps and directions; the files that they end in."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from gan_lightning.build import build_task
from gan_lightning.config.schema import SampleConfig
from gan_lightning.errors import ConfigError
from gan_lightning.exploring import (
    along_direction,
    class_sweep,
    directions_that_matter,
    from_styles,
    great_circle,
    noises,
    shown,
    straight,
    style_mixing,
    styles,
    walk,
)
from gan_lightning.networks.noise import noise_layers
from gan_lightning.sample_files import kind_of, write
from gan_lightning.sampling import GAN


@pytest.fixture
def gan(config):
    def made(*overrides: str) -> GAN:
        task = build_task(config("model=mlp", *overrides))
        with torch.no_grad():
            for weight in task.g.parameters():
                weight.mul_(1.5)  # far enough from zero that images differ
        return GAN(task, task.g.eval(), {})

    return made


def test_a_great_circle_turns_and_grows_evenly():
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 4.0, 0.0])
    way = great_circle(a, b, torch.tensor([0.0, 0.25, 0.5, 1.0]))
    torch.testing.assert_close(way.norm(dim=1), torch.tensor([2.0, 2.5, 3.0, 4.0]))
    angles = torch.atan2(way[:, 1], way[:, 0])
    torch.testing.assert_close(angles, torch.tensor([0.0, 0.25, 0.5, 1.0]) * math.pi / 2)


@pytest.mark.parametrize("b", [torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0])])
def test_where_no_circle_is_given_the_way_is_straight(b):
    a, t = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5, 1.0])
    assert torch.equal(great_circle(a, b, t), straight(a, b, t))


@pytest.mark.parametrize("settings", [[], ["task.latent=uniform"], ["task.latent=spherical"]])
def test_a_walk_passes_its_latents_and_returns(gan, settings):
    gan = gan(*settings)
    z = gan.latents(3, seed=1)
    film, columns = walk(gan, z, frames=5)
    assert film.shape == (15, 1, 8, 8) and columns == 5
    torch.testing.assert_close(film[::5], gan.sample(3, seed=1))
    steps = (film - film.roll(-1, 0)).flatten(1).norm(dim=1)
    assert steps.max() < 0.6 * (film[0] - film[5]).norm()  # no jump, not from the last to the first either


def test_normal_latents_keep_their_length_on_the_way(gan):
    z = torch.nn.functional.normalize(torch.randn(2, 50)) * 7
    way = great_circle(z[0], z[1], torch.linspace(0, 1, 9))
    torch.testing.assert_close(way.norm(dim=1), torch.full((9,), 7.0))
    assert straight(z[0], z[1], torch.tensor([0.5])).norm() < 6  # what it is for


def test_each_latent_as_every_class(gan):
    gan = gan("model.conditional=true")
    images, columns = class_sweep(gan, gan.latents(2, seed=3))
    assert images.shape[0] == 20 and columns == 10
    for i in range(2):
        for k in (0, 7):
            torch.testing.assert_close(images[10 * i + k], gan.sample(1, seed=3, start=i, label=k)[0])
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_the_first_direction_changes_the_first_layer_most(gan):
    gan = gan()
    directions = directions_that_matter(gan)
    layer = next(part for part in gan.network.modules() if isinstance(part, nn.Linear))
    change = (layer.weight @ directions.T).norm(dim=0)
    assert torch.equal(change.sort(descending=True).values, change)
    random = nn.functional.normalize(torch.randn(1000, 100))
    assert (layer.weight @ random.T).norm(dim=0).max() < change[0]
    images, columns = along_direction(gan, gan.latents(2), 0, strength=2.0)
    assert images.shape[0] == 14 and columns == 7
    torch.testing.assert_close(images[3::7], gan.sample(2))  # the middle is where one was


STYLED = ["model=stylegan2", "model.width=0.05", "model.w_dim=16", "model.z_dim=16", "model.mapping_layers=2"]


@pytest.fixture
def styled(gan):
    return gan(*STYLED)


def test_mixed_styles(styled):
    z, others = styled.latents(2), styled.latents(3, start=2)
    images, columns = style_mixing(styled, z, others, mix_at=2)
    assert images.shape[0] == 3 * 4 and columns == 4 and (images[0] == 1).all()
    torch.testing.assert_close(images[1:4], styled.sample(3, start=2))
    torch.testing.assert_close(images[4::4], styled.sample(2))
    g, one, other = styled.network, styled.network.mapping(z[1:]), styled.network.mapping(others[2:])
    ws = torch.stack([one[0], one[0], other[0], other[0]])[None]
    torch.testing.assert_close(images[11], g.synthesis(ws)[0].detach())
    with pytest.raises(ConfigError, match="mix_at=4: must be from 1 to 3"):
        style_mixing(styled, z, others, mix_at=4)


def test_psi_moves_styles_to_their_mean(styled):
    g = styled.network
    g.w_avg.copy_(torch.randn(16))
    mean = g.synthesis(g.w_avg.expand(1, g.num_ws, -1)).detach()
    plain = styled.sample(1)
    styled.psi = 0.0
    torch.testing.assert_close(styled.sample(3), mean.expand(3, -1, -1, -1))
    half = torch.lerp(g.w_avg, g.mapping(styled.latents(1)), 0.5)[:, None].expand(-1, g.num_ws, -1)
    styled.psi = 0.5
    torch.testing.assert_close(styled.sample(1), g.synthesis(half).detach())
    assert g.psi == 1 and not torch.equal(styled.sample(1), plain)
    with pytest.raises(ConfigError, match="psi=nan: must be a finite number"):
        styled.psi = float("nan")


def test_random_noise_is_numbered_like_the_samples(styled):
    const = styled.sample(5)
    with torch.no_grad():
        for layer in noise_layers(styled.network):
            layer.strength.fill_(1.0)
    assert not torch.allclose(styled.sample(5), const, atol=1e-3)
    styled.noise = "none"
    torch.testing.assert_close(styled.sample(5), const)
    styled.noise = "random"
    noisy = styled.sample(5)
    assert not torch.allclose(noisy, const, atol=1e-3)
    assert torch.equal(noisy, styled.sample(5)) and torch.equal(noisy[3:], styled.sample(2, start=3))
    torch.testing.assert_close(noisy, styled.sample(5, batch_size=2))
    assert not torch.equal(noisy, styled.sample(5, seed=1))
    torch.testing.assert_close(styled.images(styled.latents(5)), noisy)
    w = styles(styled, styled.latents(5))
    with styled.evaluating():
        torch.testing.assert_close(from_styles(styled, w), noisy)
    assert all(layer.mode == "const" and layer.pictures is None for layer in noise_layers(styled.network))


def test_rows_of_noise(styled):
    with torch.no_grad():
        for layer in noise_layers(styled.network):
            layer.strength.fill_(1.0)
    images, columns = noises(styled, styled.latents(2))
    assert images.shape[0] == 2 * columns == 14
    styled.noise = "none"
    torch.testing.assert_close(images[::7], styled.sample(2))
    assert len({image.numpy().tobytes() for image in images}) == 14


def test_directions_of_styles_change_all_layers_most(styled):
    directions = directions_that_matter(styled)
    weights = torch.cat([part.affine.weight for part in styled.network.modules() if hasattr(part, "affine")])
    change = (weights @ directions.T).norm(dim=0)
    assert directions.shape == (16, 16) and torch.equal(change.sort(descending=True).values, change)
    images, _ = along_direction(styled, styled.latents(2), 1, strength=0.5)
    torch.testing.assert_close(images[3::7], styled.sample(2))


@pytest.mark.parametrize("model, settings, message", [
    ("mlp", {"show": "classes"}, "takes no labels"),
    ("mlp", {"show": "mixing"}, "no styles to mix"),
    ("mlp", {"show": "walk", "n": 1}, "n of at least 2"),
    ("mlp", {"show": "walk", "frames": 0}, "frames of at least 1"),
    ("mlp", {"show": "dances"}, "show=dances: must be one of samples, walk"),
    ("mlp", {"show": "directions", "direction": 100}, "direction=100: must be from 0 to 99"),
    ("mlp", {"show": "noise"}, "noise=none: this generator has no noise between its layers"),
    ("stylegan2", {"show": "mixing", "label": 3}, "label=3: this generator takes no labels"),
    ("biggan", {"show": "directions"}, "does not read the whole of z"),
])
def test_refused(gan, model, settings, message):
    cfg = OmegaConf.structured(SampleConfig(ckpt="x", **({"n": 2} | settings)))
    small = {"stylegan2": STYLED, "biggan": ["model=biggan", "model.width=4", "model.conditional=true"]}.get(model, [])
    with pytest.raises(ConfigError, match=message):
        shown(gan(*small), cfg)


def test_settings_that_a_generator_does_not_have(gan):
    plain = gan()
    with pytest.raises(ConfigError, match="psi=0.5: this generator has no styles"):
        plain.psi = 0.5
    with pytest.raises(ConfigError, match="noise=random: this generator has no noise between its layers"):
        plain.noise = "random"
    with pytest.raises(ConfigError, match="noise=loud: must be one of const, none, random"):
        plain.noise = "loud"
    plain.noise = "const"


def test_standing_statistics_need_batch_normalisation(gan):
    with pytest.raises(ConfigError, match="standing=2: this generator has no batch normalisation"):
        gan().take_standing_statistics(2)
    dcgan = gan("model=dcgan", "model.width=8", "model.conditional=false")
    before = dcgan.sample(2)
    dcgan.take_standing_statistics(2)
    assert not torch.allclose(before, dcgan.sample(2))


def test_styles_are_made_of_codes_where_there_are_any(gan):
    styled = gan(*STYLED, "conditioning=infogan", "model.z_dim=16", "model.style_mixing=0")
    z = styled.latents(3)
    torch.testing.assert_close(from_styles(styled, styles(styled, z)), styled.sample(3), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("out, film, message", [
    ("a.gif", False, "must end in .png .*show=walk makes films"),
    ("a.mov", True, ".gif or .mp4"),
])
def test_other_endings(out, film, message):
    with pytest.raises(ConfigError, match=message):
        kind_of(out, film)


FRAMES = torch.linspace(-1, 1, 6)[:, None, None, None].expand(6, 3, 16, 16)


def test_a_gif_has_every_frame(tmp_path):
    out = str(tmp_path / "film.gif")
    write(FRAMES, out, kind_of(out, film=True), fps=10)
    with Image.open(out) as film:
        assert film.n_frames == 6 and film.size == (128, 128) and film.info["duration"] == 100
        for i in range(6):
            film.seek(i)
            assert abs(int(np.array(film.convert("L")).mean()) - 51 * i) <= 1


def test_an_mp4_has_every_frame(tmp_path):
    av = pytest.importorskip("av")
    out = str(tmp_path / "film.mp4")
    write(FRAMES, out, kind_of(out, film=True), fps=25)
    with av.open(out) as film:
        grey = [frame.to_ndarray(format="gray").mean() for frame in film.decode(video=0)]
        assert film.streams.video[0].average_rate == 25
    assert len(grey) == 6 and np.all(np.diff(grey) > 30)
