"""torch-fidelity's registry, through a small network that is registered here."""

import socket

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.extractors.download import WeightsMissing
from gan_lightning.metrics.extractors.fidelity import TorchFidelityExtractor, state_sha256

CPU = torch.device("cpu")


class Tiny(FeatureExtractorBase):
    """Means over a 2x2 grid, through a linear layer whose weights come from a file, if there is one."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None, **kwargs):
        super().__init__(name, features_list)
        self.linear = torch.nn.Linear(12, 5)
        weight = torch.arange(60.0).view(5, 12)
        if feature_extractor_weights_path is not None:
            weight = torch.load(feature_extractor_weights_path)
        torch.nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            self.linear.weight.copy_(weight)

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1] == 3 and not self.training
        return (self.linear(adaptive_avg_pool2d(x.float(), 2).flatten(1)),)

    @staticmethod
    def get_provided_features_list():
        return ("means",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "means"


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "tiny-net-2", Tiny)


def prepared(**settings):
    extractor = TorchFidelityExtractor("tiny-net-2", **settings)
    extractor.prepare(None, None, CPU)
    return extractor


def test_features():
    extractor = prepared()
    assert (extractor.name, extractor.dim, extractor.logits, extractor.original) == ("tiny_net_2", 5, 0, False)
    x = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    with extractor.loaded(CPU) as extract, torch.autocast("cpu", dtype=torch.bfloat16):
        pool, logits = extract(x)
        grey, _ = extract(x[:, :1])
    means = x.double().view(3, 3, 2, 4, 2, 4).mean((3, 5)).flatten(1)
    torch.testing.assert_close(pool.double(), means @ torch.arange(60.0).double().view(5, 12).T, rtol=1e-6, atol=0)
    assert logits is None and pool.dtype == torch.float32 and not pool.requires_grad
    assert grey.shape == (3, 5)


def test_random_numbers_of_the_training_are_left_alone():
    before = torch.get_rng_state()
    extractor = prepared()
    with extractor.loaded(CPU):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_decide_the_fingerprint(tmp_path):
    torch.save(torch.arange(60.0).view(5, 12), tmp_path / "same.pth")
    torch.save(torch.ones(5, 12), tmp_path / "other.pth")
    published = prepared().fingerprint()
    assert prepared(weights_path=str(tmp_path / "same.pth")).fingerprint() == published
    assert prepared(weights_path=str(tmp_path / "other.pth")).fingerprint() != published


def test_another_process_adopts_and_verifies(tmp_path):
    first = prepared()
    other = TorchFidelityExtractor("tiny-net-2")
    other.adopt(first.state())
    assert other.fingerprint() == first.fingerprint() and other.dim == 5
    torch.save(torch.ones(5, 12), tmp_path / "other.pth")
    other.weights_path = str(tmp_path / "other.pth")
    with pytest.raises(UserError, match="not those that were agreed on"), other.loaded(CPU):
        pass


def test_wrong_file(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"garbage")
    with pytest.raises(UserError, match="no weights of tiny-net-2") as caught:
        prepared(weights_path=str(tmp_path / "w.pth"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no such file"):
        prepared(weights_path=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("model", ["nothing", "inception-v3-compat"])
def test_unknown_model(model):
    with pytest.raises(ConfigError, match=f"model={model}: must be one of clip-rn101.*metrics/extractor=inception"):
        TorchFidelityExtractor(model).prepare(None, None, CPU)


def test_channels():
    with pytest.raises(ConfigError, match="data.channels=2"):
        TorchFidelityExtractor("clip-vit-b-32").check(2, 32)


def test_dinov2_takes_no_file(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match="takes no local file"):
        TorchFidelityExtractor("dinov2-vit-b-14", str(tmp_path / "w.pth")).prepare(None, None, CPU)


@pytest.mark.parametrize("model", ["clip-vit-b-32", "dinov2-vit-s-14", "vgg16"])
def test_no_network(model, tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    timeout = socket.getdefaulttimeout()
    with pytest.raises(WeightsMissing, match=f"{model}.*cannot be downloaded") as caught:
        TorchFidelityExtractor(model).prepare(None, None, CPU)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(tmp_path), "metrics=classifier", "metrics=random_conv"):
        assert part in message
    assert socket.getdefaulttimeout() == timeout


def test_hash_of_a_state():
    a, b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    assert state_sha256(a) == state_sha256(a) != state_sha256(b)
    b.load_state_dict(a.state_dict())
    assert state_sha256(a) == state_sha256(b)
    assert state_sha256(a.bfloat16()) != state_sha256(b)
    assert len(state_sha256(torch.nn.BatchNorm2d(2))) == 64  # has a buffer without dimensions
