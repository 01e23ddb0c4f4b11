"""Inception against torch-fidelity's own, with random weights, and every way in which weights can be wrong."""

import gc
import hashlib
import math
import socket
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

from gan_lightning.data.base import ImageData
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.metrics.extractors import inception
from gan_lightning.metrics.extractors.download import WeightsMissing
from gan_lightning.metrics.extractors.inception import FILE, SHA256, URL, Inception
from gan_lightning.metrics.scores.frechet import FrechetDistance
from gan_lightning.metrics.scores.inception_score import InceptionScore
from gan_lightning.metrics.scores.kernel import KernelDistance
from gan_lightning.metrics.scores.prdc import PRDC

CPU = torch.device("cpu")


def random_state(seed=0):
    """He-normal weights, so that features keep their size, and batch norms that do something."""
    random = np.random.RandomState(seed)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in inception.skeleton().state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            value = np.int64(0)
        elif len(shape) > 1:
            value = random.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith(("running_var", "bn.weight")):
            value = random.uniform(0.7, 1.3, shape)
        else:
            value = random.standard_normal(shape) * 0.1
        state[name] = torch.tensor(value, dtype=torch.int64 if len(shape) == 0 else torch.float32)
    return state


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(random_state(), path)
    return path


@pytest.fixture(scope="session")
def reference(weights):
    """torch-fidelity's own extractor: uint8 images -> (pool, logits)."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"],
                                       feature_extractor_weights_path=str(weights))


def images(n=2, channels=3, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


def prepared(weights, **settings):
    extractor = Inception(str(weights), other_weights=True, **settings)
    extractor.prepare(None, None, CPU)
    return extractor


def features(extractor, x):
    with extractor.loaded(CPU) as extract:
        return extract(x)


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def check_equal(found, expected, most=1e-5):
    assert distance(found[0], expected[0]) < most
    assert distance(found[1], expected[1]) < most
    assert found[0].dtype == found[1].dtype == torch.float32


@pytest.mark.parametrize("size", [32, 320])
def test_features_equal_torch_fidelity(weights, reference, size):
    x = images(size=size)
    found, expected = features(prepared(weights), x), reference(x)
    assert found[0].shape == (2, Inception.dim) and found[1].shape == (2, Inception.logits)
    check_equal(found, expected)
    # Images differ by much less than features do from zero: what sets them apart must agree as well.
    assert distance(found[0][0] - found[0][1], expected[0][0] - expected[0][1]) < 1e-4


def test_grey_images_are_repeated(weights, reference):
    grey = images(1, channels=1)
    check_equal(features(prepared(weights), grey), reference(grey.repeat(1, 3, 1, 1)))


def test_more_images_than_are_looked_at_at_once(weights, reference, monkeypatch):
    monkeypatch.setattr(inception, "_CPU_CHUNK", 1)
    x = images(2)
    check_equal(features(prepared(weights), x), reference(x))


def test_bf16_is_near_and_another_ruler(weights, reference):
    x = images(1)
    extractor = prepared(weights, precision="bf16")
    found, expected = features(extractor, x), reference(x)
    check_equal(found, expected, 0.03)
    assert distance(found[0], expected[0]) > 1e-4
    assert extractor.fingerprint()["precision"] == "bf16"


def test_clean_differs_by_its_resize_alone(weights, reference):
    large, small = images(1, size=299), images(1)
    with prepared(weights, resize="clean").loaded(CPU) as extract:
        check_equal(extract(large), reference(large))  # there is nothing to resize
        assert distance(extract(small)[0], reference(small)[0]) > 1e-3


def test_settings_of_the_training_have_no_part_in_it(weights):
    x, extractor = images(1), prepared(weights)
    expected = features(extractor, x)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
            found = features(extractor, x)
    finally:
        torch.set_float32_matmul_precision(precision)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert not found[0].requires_grad


def test_random_numbers_of_the_training_are_left_alone(weights):
    before = torch.get_rng_state()
    features(prepared(weights), images(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_names(weights):
    state = prepared(weights).state()
    assert Inception().name == "inception"
    for settings, name in (({}, "inception"), ({"resize": "clean"}, "inception_clean"),
                           ({"precision": "bf16"}, "inception_bf16"),
                           ({"resize": "clean", "precision": "bf16"}, "inception_clean_bf16")):
        extractor = Inception(str(weights), other_weights=True, **settings)
        extractor.adopt(state)
        assert extractor.name == f"{name}_{state['sha256'][:6]}"
        assert not extractor.original
        assert extractor.fingerprint()["weights"] == state["sha256"]


def test_original_is_the_published_file_resize_and_precision_alone(weights, monkeypatch):
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    for settings, name, original in (({}, "inception", True), ({"resize": "clean"}, "inception_clean", False),
                                     ({"precision": "bf16"}, "inception_bf16", False)):
        extractor = Inception(str(weights), **settings)
        assert not extractor.original  # not before its weights are known
        extractor.prepare(None, None, CPU)
        assert (extractor.name, extractor.original) == (name, original)


def test_another_process_adopts_and_verifies(weights, tmp_path):
    first = prepared(weights)
    copy = tmp_path / "copy.pth"
    copy.write_bytes(weights.read_bytes())
    other = Inception(str(copy), other_weights=True)
    other.adopt(first.state())
    assert (other.name, other.fingerprint()) == (first.name, first.fingerprint())
    check_equal(features(other, images(1)), features(first, images(1)), 1e-9)
    copy.write_bytes(b"something else")
    with pytest.raises(UserError, match="agreed on"):
        features(other, images(1))


def test_wrong_hash(weights):
    with pytest.raises(UserError, match="other_weights=true") as caught:
        Inception(str(weights)).prepare(None, None, CPU)
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found in str(caught.value) and SHA256 in str(caught.value)
    assert not isinstance(caught.value, WeightsMissing)


def other_shape(state):
    return state | {"fc.weight": torch.zeros(1000, 2048)}


def without_a_layer(state):
    return {name: value for name, value in state.items() if "Mixed_7c" not in name}


@pytest.mark.parametrize("damage", [other_shape, without_a_layer, lambda state: {"model": torch.zeros(1)}])
def test_weights_that_do_not_fit(weights, tmp_path, damage):
    torch.save(damage(torch.load(weights)), tmp_path / "w.pth")
    with pytest.raises(UserError, match="other weights than an Inception") as caught:
        prepared(tmp_path / "w.pth")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_garbage(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match="no weights that PyTorch can read"):
        prepared(tmp_path / "w.pth")


def test_missing_file():
    with pytest.raises(ConfigError, match="weights_path=/no/such/file.pth: there is no such file"):
        Inception("/no/such/file.pth").prepare(None, None, CPU)


def test_no_network(tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "URL", f"http://127.0.0.1:{port}/{FILE}")
    with pytest.raises(WeightsMissing, match="refused") as caught:
        Inception().prepare(None, Cache(tmp_path), CPU)
    message = str(caught.value)
    assert "\n" not in message
    for part in (FILE, SHA256, str(tmp_path / "hub" / "checkpoints"), "metrics.extractor.weights_path=",
                 "metrics=classifier", "metrics=random_conv"):
        assert part in message


def test_file_in_the_hub_folder_is_found(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:1/never")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / FILE).symlink_to(weights)
    extractor = Inception()
    extractor.prepare(None, None, CPU)
    assert extractor.original


def test_published_file_is_torch_fidelitys():
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert URL == URL_INCEPTION_V3
    assert SHA256[:8] in FILE


@pytest.mark.parametrize("settings, message", [({"resize": "lanczos"}, "resize=lanczos: must be tf1 or clean"),
                                               ({"precision": "fp16"}, "precision=fp16: must be float32 or bf16")])
def test_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        Inception(**settings)


def test_channels():
    Inception().check(1, 28)
    with pytest.raises(ConfigError, match="data.channels=4"):
        Inception().check(4, 32)


def test_torch_fidelity_is_imported_only_when_needed():
    code = ("import sys, gan_lightning.metrics.extractors.inception, gan_lightning.metrics.extractors.fidelity;"
            "sys.exit('torch_fidelity' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_network_is_freed(weights, monkeypatch):
    built = []
    build = Inception._network

    def spied(self):
        body, fc = build(self)
        built.append(weakref.ref(body))
        return body, fc

    monkeypatch.setattr(Inception, "_network", spied)
    with prepared(weights).loaded(CPU):
        assert built[-1]() is not None
    gc.collect()
    assert [network() for network in built] == [None, None]


class Pictures(ImageData):
    def __init__(self, real):
        super().__init__(resolution=32, channels=3)
        self.real = real

    def load(self, split):
        return InMemory(self.real)


class AsDataset(torch.utils.data.Dataset):
    def __init__(self, real):
        self.real = real

    def __len__(self):
        return len(self.real)

    def __getitem__(self, i):
        return self.real[i]


@pytest.mark.slow
def test_a_whole_evaluation_equals_torch_fidelity(weights, reference, tmp_path, monkeypatch):
    """Same images, same weights: FID, IS, KID, precision and recall of `calculate_metrics`, and by their names.

    Covariances of 60 images are singular, and the eigenvalues of their product that torch-fidelity takes are off by
    some 1e-5 then; so FID is also compared, to 1e-5, with singular values of torch-fidelity's own features.
    """
    from torch_fidelity import calculate_metrics

    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    random = torch.Generator().manual_seed(3)
    colours = torch.rand(2, 60, 3, 1, 1, generator=random) * torch.tensor([200, 256]).view(2, 1, 1, 1, 1)
    noise = 40 * torch.rand(2, 60, 3, 32, 32, generator=random)
    fake, real = (colours + noise).clamp(0, 255).byte()
    real = real[:52]
    scores = {"frechet": FrechetDistance(), "inception_score": InceptionScore(), "prdc": PRDC(),
              "kernel": KernelDistance(subsets=20, subset_size=30)}
    evaluation = Evaluation(Inception(str(weights)), scores, "frechet", cache=str(tmp_path))
    data = Pictures(real)
    evaluation.prepare(data)
    evaluation.agree(data)
    ours = evaluation.measure(ImageSet(InMemory(fake), torch.arange(60)), data).values()
    theirs = calculate_metrics(
        input1=AsDataset(fake), input2=AsDataset(real), cuda=False, isc=True, fid=True, kid=True, prc=True,
        kid_subsets=20, kid_subset_size=30, feature_extractor="inception-v3-compat", feature_layer_prc="2048",
        feature_extractor_weights_path=str(weights), save_cpu_ram=True, verbose=False, cache=False)
    for name, key in {"fid": "frechet_inception_distance", "is": "inception_score_mean", "is_std": "inception_score_std",
                      "kid": "kernel_inception_distance_mean", "precision_inception": "precision",
                      "recall_inception": "recall"}.items():
        assert ours[name] == pytest.approx(theirs[key], rel=1e-4 if name == "fid" else 1e-5), name
    x, y = (reference(images)[0].double() for images in (fake, real))
    roots = [(part - part.mean(0)) / (len(part) - 1) ** 0.5 for part in (x, y)]
    exact = (x.mean(0) - y.mean(0)).square().sum() + sum(root.square().sum() for root in roots)
    exact -= 2 * torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    assert ours["fid"] == pytest.approx(exact.item(), rel=1e-5)
    assert ours["fid"] > 0.01 and ours["is"] > 1.0001 and 0 < ours["precision_inception"] < 1
