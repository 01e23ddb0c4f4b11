"""Values of torch-fidelity, run end to end on images through an extractor of its own kind."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from gan_lightning.metrics.scores.frechet import FrechetDistance
from gan_lightning.metrics.scores.inception_score import InceptionScore
from gan_lightning.metrics.scores.kernel import KernelDistance
from gan_lightning.metrics.scores.prdc import PRDC

torch_fidelity = pytest.importorskip("torch_fidelity")
from torch_fidelity.feature_extractor_base import FeatureExtractorBase  # noqa: E402
from torch_fidelity.registry import register_feature_extractor  # noqa: E402

NAME = "patches-of-tests"


def patches(images):
    """48 features and 10 logits of 3 x 8 x 8 images."""
    features = F.adaptive_avg_pool2d(images.float(), 4).flatten(1) / 64
    return features, features[:, :10] * 4


class Patches(FeatureExtractorBase):
    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)

    def forward(self, x):
        return tuple(dict(zip(("pool", "logits"), patches(x), strict=True))[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list():
        return ("pool", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits" if metric == "isc" else "pool"

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        return torch.zeros(1, 3, 8, 8, dtype=torch.uint8)


class Images(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def made_images(n, seed, top):
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randint(top, (n, 3, 2, 2), generator=random).float()
    noise = torch.randint(80, (n, 3, 8, 8), generator=random)
    return (F.interpolate(coarse, 8) + noise).clamp(max=255).to(torch.uint8)


@pytest.fixture(scope="module")
def sets():
    return made_images(230, 0, 256), made_images(317, 1, 170)


@pytest.fixture(scope="module")
def theirs(sets):
    try:
        register_feature_extractor(NAME, Patches)
    except Exception as error:  # noqa: BLE001 - registered once per process
        assert "registered" in str(error).lower()
    fake, real = sets
    return torch_fidelity.calculate_metrics(
        input1=Images(fake), input2=Images(real), isc=True, fid=True, kid=True, prc=True, feature_extractor=NAME,
        kid_subsets=20, kid_subset_size=100, cuda=False, cache=False, verbose=False, save_cpu_ram=True)


@pytest.mark.parametrize("score, names", [
    (FrechetDistance(), {"fd": "frechet_inception_distance"}),
    (InceptionScore(), {"cs": "inception_score_mean", "cs_std": "inception_score_std"}),
    (KernelDistance(subsets=20, subset_size=100), {"kd": "kernel_inception_distance_mean"}),
    (PRDC(), {"precision": "precision", "recall": "recall"}),
])
def test_equal_values(collected, sets, theirs, score, names):
    fake, real = (collected(score, *patches(images)) for images in sets)
    values = score.compute(fake, real)
    for mine, their in names.items():
        assert values[mine] == pytest.approx(theirs[their], rel=1e-9 if mine.startswith("cs") else 1e-5), mine
    assert 0.02 < theirs["precision"] < 0.98 and 0.02 < theirs["recall"] < 0.98  # else equality says little
