"""Path lengths of generators for which they are known, and against torch-fidelity's."""

import copy
import math
import socket
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from gan_lightning.build import instantiate
from gan_lightning.data.base import ImageData
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.latents import indexed
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.extractors.download import WeightsMissing
from gan_lightning.metrics.generated import Generated, fakes_of
from gan_lightning.metrics.lpips import LPIPS
from gan_lightning.metrics.path_length import PathLength, slerp, within
from gan_lightning.metrics.table import table
from gan_lightning.randomness import mix
from gan_lightning.sampling import GAN

CPU = torch.device("cpu")
KEEP_ALL = {"discard_lowest": 0.0, "discard_highest": 0.0}


class SquaredPixels:
    """In the place of LPIPS: the sum of squared differences."""

    def check(self, channels, resolution):
        pass

    def prepare(self):
        pass

    def fingerprint(self):
        return {"name": "squared_pixels"}

    @contextmanager
    def loaded(self, device):
        yield lambda first, second: (first - second).square().flatten(1).sum(1)


class Walk(nn.Module):
    """A task that only samples."""

    def __init__(self, latent, z_dim, num_classes):
        super().__init__()
        self.latent, self.z_dim, self.num_classes = latent, z_dim, num_classes

    def sample_batch(self, indices, seed, label=None, truncation=None):
        z, drawn = indexed(self.latent, indices, seed, self.z_dim, self.num_classes, truncation)
        return {"z": z, "label": drawn if label is None else label} if self.num_classes else {"z": z}

    def generate(self, batch, g):
        return g(batch["z"], batch["label"]) if self.num_classes else g(batch["z"])


class Linear(nn.Module):
    """G(z) = Az + 100 label, grey images of 4 x 4 in float64."""

    def __init__(self, z_dim=6, num_classes=0, power=1):
        super().__init__()
        a = torch.randn(16, z_dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.a, self.num_classes, self.power = nn.Parameter(a), num_classes, power

    def forward(self, z, label=None):
        images = (z @ self.a.T)**self.power + (0 if label is None else 100 * label[:, None])
        return images.view(-1, 1, 4, 4)


class Images(ImageData):
    def __init__(self, channels=1, resolution=4, num_classes=0):
        super().__init__(resolution=resolution, channels=channels, num_classes=num_classes)

    def load(self, split):
        real = torch.zeros(9, self.channels, self.resolution, self.resolution, dtype=torch.uint8)
        return InMemory(real, torch.arange(9) % 3 if self.num_classes else None)


def linear(latent="normal", num_classes=0, power=1):
    return GAN(Walk(latent, 6, num_classes), Linear(num_classes=num_classes, power=power), {})


def measured(gan, n=20, data=None, truncation=None, **settings):
    path_length, data = PathLength(n, **{"block": 8} | settings), data or Images()
    path_length.distance = SquaredPixels()
    path_length.prepare(data)
    path_length.agree(data)
    fakes = fakes_of(gan, n, path_length.seed, path_length.reals(data), truncation, path_length.block)
    return path_length.measure(fakes, data)


def value(*args, **settings):
    return measured(*args, **settings).values()["path_length"]


def ends(latent, n=20, seed=0, truncation=None):
    """Both latents of each pair, (n, 6) float64."""
    return [indexed(latent, range(n), mix(seed, which), 6, 0, truncation)[0].double().numpy() for which in (1, 2)]


@pytest.mark.parametrize("sampling", ["full", "end"])
@pytest.mark.parametrize("latent, interpolation", [("uniform", "auto"), ("normal", "lerp")])
def test_straight_walk_of_a_linear_generator(latent, interpolation, sampling):
    """A moves by A(z2 - z1) epsilon in each step, wherever it is."""
    gan = linear(latent)
    first, second = ends(latent)
    lengths = np.square((second - first) @ gan.network.a.detach().numpy().T).sum(1)
    found = measured(gan, sampling=sampling, interpolation=interpolation, **KEEP_ALL).values()
    assert found["path_length"] == pytest.approx(lengths.mean(), rel=1e-7)
    assert found["path_length_std"] == pytest.approx(lengths.std(), rel=1e-7)


def test_walk_on_the_sphere():
    """On a sphere of radius r, a step of angle w epsilon spans a chord of 2 r sin(w epsilon / 2), wherever it is."""
    gan, epsilon = linear("spherical"), 1e-3
    gan.network.a.data = 3 * torch.eye(16, 6, dtype=torch.float64)
    first, second = ends("spherical")
    angle = np.arccos((first * second).sum(1) / 6)
    chord = 2 * math.sqrt(6) * np.sin(angle * epsilon / 2)
    expected = (9 * chord**2).mean() / epsilon**2
    for sampling in ("full", "end"):
        assert value(gan, epsilon=epsilon, sampling=sampling, **KEEP_ALL) == pytest.approx(expected, rel=1e-6)


def test_normal_latents_walk_on_arcs():
    """By another way: rotate the one direction into the other, in the plane of both."""
    gan, epsilon = linear("normal", power=2), 1e-4
    a = gan.network.a.detach().numpy()
    lengths = []
    for i, (first, second) in enumerate(zip(*ends("normal"), strict=True)):
        generator = torch.Generator().manual_seed(mix(mix(0, 3), i))
        t = torch.rand(1, generator=generator, dtype=torch.float64).item()
        u, v = first / np.linalg.norm(first), second / np.linalg.norm(second)
        w = math.acos(u @ v)
        images = []
        for at in (t, t + epsilon):
            direction = [math.sin((1 - at) * w) / math.sin(w), math.sin(at * w) / math.sin(w)]
            images.append((a @ (direction[0] * first + direction[1] * second))**2)
        lengths.append(np.square(images[1] - images[0]).sum() / epsilon**2)
    assert value(gan, **KEEP_ALL) == pytest.approx(np.mean(lengths), rel=1e-6)
    assert value(gan, interpolation="lerp", **KEEP_ALL) != pytest.approx(np.mean(lengths), rel=1e-2)


def test_arcs():
    first, second = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ones = torch.ones(5, 1, dtype=torch.float64)
    torch.testing.assert_close(slerp(first, second, 0 * ones), first)
    torch.testing.assert_close(slerp(first, second, ones), second)
    torch.testing.assert_close(slerp(first, 3 * first, ones / 2), 2 * first)  # no arc: straight
    torch.testing.assert_close(slerp(first, -first, ones / 4), first / 2)
    torch.testing.assert_close(slerp(first, 0 * first, ones / 4), 3 * first / 4)


def test_a_generator_that_stands_still_has_no_length():
    gan = linear()
    gan.network.a.data.zero_()
    assert value(gan) == 0


def test_outermost_are_left_out():
    """By ranks: of 201 values, rank 2 is the first percentile and rank 198 the last."""
    values = np.random.RandomState(0).permutation(201).astype(float)
    assert sorted(within(values, 1, 1)) == list(range(2, 199))
    assert sorted(within(values, 0, 0)) == list(range(201))
    assert sorted(within(values, 0, 10)) == list(range(181))
    assert len(within(values[:100], 1, 1)) == 100  # percentiles lie between the last and the next
    assert len(within(np.ones(7), 1, 1)) == 7


def test_discarded_from_the_mean():
    first, second = ends("uniform", 201)
    gan = linear("uniform")
    lengths = np.sort(np.square((second - first) @ gan.network.a.detach().numpy().T).sum(1))
    assert value(gan, 201) == pytest.approx(lengths[2:199].mean(), rel=1e-7)
    assert value(gan, 201, discard_lowest=0.0, discard_highest=10.0) == pytest.approx(lengths[:181].mean(), rel=1e-7)


@pytest.mark.parametrize("latent", ["normal", "uniform", "spherical"])
def test_nothing_but_seed_and_number_counts(latent):
    gan = linear(latent, power=2)
    found = [value(gan, block=block) for block in (1, 7, 20, 64)]
    assert found == pytest.approx(found[:1] * 4, rel=1e-7)
    assert value(gan, seed=1) != pytest.approx(found[0], rel=1e-3)


def test_pairs_are_the_first_of_more_pairs():
    path_length, source = PathLength(5, block=8), Generated(linear(), 21)
    path_length.distance = SquaredPixels()
    few, more = (torch.cat(list(path_length._lengths(source, n, CPU)))[:5] for n in (5, 21))
    assert torch.equal(few, more)


def test_labels_are_those_of_both_ends():
    plain, labelled = value(linear(), **KEEP_ALL), linear(num_classes=3)
    assert value(labelled, **KEEP_ALL) == pytest.approx(plain, rel=1e-6)
    of_reals = measured(labelled, data=Images(num_classes=3), **KEEP_ALL)
    assert of_reals.values()["path_length"] == pytest.approx(plain, rel=1e-6)
    drawn = measured(labelled, **KEEP_ALL)
    assert drawn.scores["path_length"].fingerprint != of_reals.scores["path_length"].fingerprint


def test_truncation():
    """Of both ends."""
    gan = linear()
    first, second = ends("normal", truncation=0.5)
    lengths = np.square((second - first) @ gan.network.a.detach().numpy().T).sum(1)
    assert np.abs(first).max() <= 0.5
    assert value(gan, truncation=0.5, interpolation="lerp", **KEEP_ALL) == pytest.approx(lengths.mean(), rel=1e-7)


def test_float32_generator_and_its_mode(toys):
    """Batch norm uses running statistics; modes and the global random numbers are left as they were."""
    gan = toys.toy_gan()
    gan.task.latent = "normal"
    modes = [module.training for module in gan.network.modules()]
    random = torch.get_rng_state()
    found = [value(gan, block=block, data=toys.ToyData()) for block in (4, 20)]
    assert found[0] == pytest.approx(found[1], rel=1e-2)  # a step of 1e-4 magnifies rounding
    exact = GAN(gan.task, copy.deepcopy(gan.network).double(), {})
    assert found[0] == pytest.approx(value(exact, data=toys.ToyData()), rel=1e-2)
    assert modes == [module.training for module in gan.network.modules()] and all(modes)
    assert torch.equal(torch.get_rng_state(), random)


def test_result_is_shown_and_compared():
    result = measured(linear(), epsilon=1e-3)
    assert result.main == "path_length" and result.scores["path_length"].higher_is_better is False
    made_of = result.scores["path_length"].fingerprint
    assert made_of["score"] == {"score": "PathLength", "epsilon": 1e-3, "sampling": "full", "interpolation": "slerp",
                                "discard": [1.0, 1.0]}
    assert "20 samples (seed 0)" in table({"run": result}) and "squared_pixels" in table({"run": result})
    with pytest.raises(ConfigError, match="cannot be compared: score.epsilon"):
        table({"run": result, "other": measured(linear())})


def test_config_states_the_defaults():
    node = OmegaConf.load(Path(__file__).parents[2] / "conf/metrics/path_length.yaml")
    made, default = vars(instantiate(node)), vars(PathLength())
    assert vars(made.pop("distance")) == vars(default.pop("distance")) and made == default


@pytest.mark.parametrize("settings, message", [
    ({"num_fake": 0}, "metrics.num_fake=0"), ({"epsilon": 0.0}, "metrics.epsilon=0.0: must be between 0 and 1"),
    ({"sampling": "middle"}, "metrics.sampling=middle: must be one of full, end"),
    ({"interpolation": "cubic"}, "metrics.interpolation=cubic: must be one of auto, slerp, lerp"),
    ({"discard_highest": 50.0}, "metrics.discard_highest=50.0: must be from 0"),
    ({"resize": 8}, "metrics.resize=8: must be at least 16"), ({"seed": -1}, "seed=-1")])
def test_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        PathLength(**settings)


@pytest.mark.parametrize("data, settings, message", [
    (Images(2, 1), {}, "these data are points; choose metrics=mixture"),
    (Images(4, 8), {}, "data.channels=4"),
    (Images(1, 8), {"resize": None}, "images of 8 pixels are too small.*metrics.resize=64")])
def test_data_are_refused_before_any_download(data, settings, message):
    with pytest.raises(ConfigError, match=message):
        PathLength(**settings).prepare(data)


def test_a_folder_has_no_latents():
    path_length = PathLength()
    with pytest.raises(ConfigError, match="give ckpt=RUN instead of fake=DIR"):
        path_length.measure(ImageSet(Images().source(), torch.arange(9)), Images())


def test_nan():
    gan = linear()
    gan.network.a.data[0, 0] = math.nan
    with pytest.raises(UserError, match="the generator's images contain NaN"):
        value(gan)


def test_no_network(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    timeout = socket.getdefaulttimeout()
    with pytest.raises(WeightsMissing) as caught:
        PathLength().prepare(Images())
    message = str(caught.value)
    assert "\n" not in message and socket.getdefaulttimeout() == timeout
    for part in ("weights-vgg16-lpips.pth (https://", "vgg16-397923af.pth (https://", str(tmp_path / "hub/checkpoints"),
                 "downloaded once"):
        assert part in message


def test_damaged_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    for name in ("weights-vgg16-lpips.pth", "vgg16-397923af.pth"):
        (folder / name).write_bytes(b"garbage")
    with pytest.raises(UserError, match="weights-vgg16-lpips.pth or vgg16-397923af.pth in .* is damaged") as caught:
        PathLength().prepare(Images())
    assert "\n" not in str(caught.value)


def oracle(gan, latents, monkeypatch, **settings):
    """torch-fidelity's value for these pairs of latents, none left out: numpy 2 refuses how it asks for percentiles."""
    from torch_fidelity import GenerativeModelModuleWrapper
    from torch_fidelity.metric_ppl import KEY_METRIC_PPL_MEAN, calculate_ppl
    from torch_fidelity.registry import NOISE_SOURCE_REGISTRY

    class Shown(nn.Module):
        def forward(self, z):
            with gan.evaluating():
                return ((gan.network(z.to(next(gan.network.parameters()).dtype)) + 1) * 127.5).float()

    given = iter(latents)
    monkeypatch.setitem(NOISE_SOURCE_REGISTRY, "normal", lambda rng, shape: torch.from_numpy(next(given)))
    model = GenerativeModelModuleWrapper(Shown(), 6, "normal", 0)
    return calculate_ppl(1, input1=model, input1_model_num_samples=len(latents[0]), cuda=False, verbose=False,
                         batch_size=4, ppl_discard_percentile_lower=None, ppl_discard_percentile_higher=None,
                         ppl_sample_similarity_dtype="float32", **settings)[KEY_METRIC_PPL_MEAN]


@pytest.fixture(scope="module")
def lpips(tmp_path_factory):
    """LPIPS with random weights, from files like those that it would download."""
    from torchvision.models import vgg16

    random = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16().state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        if name.startswith("classifier"):  # is thrown away
            state[name] = torch.zeros(1).expand(shape)
        else:
            spread = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
            state[name] = spread * torch.randn(shape, generator=random)
    heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=random)
             for i, width in enumerate((64, 128, 256, 512, 512))}
    home = tmp_path_factory.mktemp("torch")
    (home / "hub/checkpoints").mkdir(parents=True)
    torch.save(state, home / "hub/checkpoints/vgg16-397923af.pth")
    torch.save(heads, home / "hub/checkpoints/weights-vgg16-lpips.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        before = torch.get_rng_state()
        network = LPIPS()
        network.prepare()
        assert torch.equal(torch.get_rng_state(), before)
        yield network


class Smooth(nn.Module):
    """RGB images of 8 x 8 within [-1, 1]."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.a = nn.Parameter(torch.randn(192, 6, generator=random) / 3)

    def forward(self, z):
        return (z @ self.a.T).tanh().view(-1, 3, 8, 8)


def reference(network, first, second):
    """LPIPS in float64, written out: images are normalised as for ImageNet, then shown at 64 pixels."""
    body = copy.deepcopy(network.net).double()
    features = []
    for images in (first, second):
        mean, std = (torch.tensor(x, dtype=torch.float64).view(3, 1, 1)
                     for x in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
        x = nn.functional.interpolate((images - mean) / std, (64, 64), mode="bilinear")
        features.append([layer / layer.norm(dim=1, keepdim=True) for layer in body(x)])
    heads = [head.model[1].weight.double().flatten() for head in network.lins]
    return sum(torch.einsum("bchw,c->b", (a - b)**2, head) / a[0, 0].numel()
               for a, b, head in zip(*features, heads, strict=True))


@pytest.mark.slow
def test_lpips(lpips):
    """On images that are far apart and a step apart; grey like the same in RGB."""
    random = torch.Generator().manual_seed(2)
    first, second = torch.rand(2, 2, 3, 8, 8, generator=random, dtype=torch.float64) * 2 - 1
    with lpips.loaded(CPU) as distance:
        for other, tolerance in ((second, 1e-4), (first + 1e-3 * second, 1e-2)):
            expected = reference(lpips._network, first, other)
            torch.testing.assert_close(distance(first, other).double(), expected, rtol=tolerance, atol=0)
        assert distance(first, first).tolist() == [0, 0]
        grey = [images[:, :1] for images in (first, second)]
        assert torch.equal(distance(*grey), distance(*(images.expand(-1, 3, -1, -1) for images in grey)))


@pytest.mark.slow
@pytest.mark.parametrize("interpolation, theirs", [("lerp", "lerp"), ("slerp", "slerp_any")])
def test_equals_torch_fidelity(lpips, interpolation, theirs, monkeypatch):
    """The same pairs from their beginnings, through LPIPS with the same weights."""
    gan, n = GAN(Walk("normal", 6, 0), Smooth(), {}), 6
    path_length = PathLength(n, sampling="end", interpolation=interpolation, block=4, **KEEP_ALL)
    path_length.distance = lpips
    ours = path_length.measure(ImageSet(Generated(gan, n), torch.arange(n)), Images(3, 8))
    assert ours.scores["path_length"].fingerprint["extractor"]["weights"] == lpips.sha256
    expected = oracle(gan, ends("normal", n), monkeypatch, ppl_z_interp_mode=theirs)
    assert ours.values()["path_length"] == pytest.approx(expected, rel=1e-3)


def test_the_time_it_took_is_told():
    result = measured(linear())
    assert result.seconds > 0 and result.main == "path_length" and result.deciding == []
