"""LPIPS, a perceptual distance of two images: torch-fidelity's, on VGG16."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.extractors.base import exact
from gan_lightning.metrics.extractors.download import WeightsMissing, hub_folder, reason
from gan_lightning.metrics.extractors.fidelity import state_sha256
from gan_lightning.metrics.extractors.resize import as_rgb, check_channels

Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of images, float (b, C, H, W) with [-1, 1] for black to white -> their distances, (b,)."""

SMALLEST = 16  # pixels: VGG16 halves images four times
_TIMEOUT = 15.0  # seconds; torch.hub itself would wait for ever


class LPIPS:
    """Squared differences of VGG16's normalised features, weighted by what people see (Zhang et al. 2018,
    arXiv:1801.03924, eq. 1; version 0.1 of the weights).

    Images are taken as they are: neither rounded to whole grey levels nor clamped to [-1, 1]. Grey is repeated.

    Args:
        resize: height and width to resize to first, by area if images are larger and bilinearly if not; None: as
            they are.
    """

    name = "lpips_vgg16"

    def __init__(self, resize: int | None = 64):
        if resize is not None and resize < SMALLEST:
            raise ConfigError(f"metrics.resize={resize}: must be at least {SMALLEST}, or null for images as they are")
        self.resize = resize
        self.sha256: str | None = None
        self._network: nn.Module | None = None

    def check(self, channels: int, resolution: int) -> None:
        """Raises ConfigError for images that it cannot look at."""
        check_channels(self.name, channels)
        if self.resize is None and resolution < SMALLEST:
            raise ConfigError(f"metrics.resize=null: images of {resolution} pixels are too small for {self.name}, "
                              f"which needs {SMALLEST}; choose metrics.resize=64")

    def prepare(self) -> None:
        """Builds the network, which downloads its weights if need be.

        Raises:
            WeightsMissing: they are not here and cannot be downloaded.
            UserError: the files are damaged.
        """
        self._network = self._build()
        self.sha256 = state_sha256(self._network)

    def fingerprint(self) -> dict[str, Any]:
        """What decides a distance."""
        return {"name": self.name, "weights": self.sha256, "resize": self.resize, "precision": "float32"}

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Distance]:
        """The network that `prepare` built, on `device`, as a function; off the device again afterwards."""
        network = self._network.to(device)

        def distance(first: Tensor, second: Tensor) -> Tensor:
            with exact(device):
                return network(*(as_rgb((images.to(device).float() + 1) * 127.5) for images in (first, second)))

        try:
            yield distance
        finally:
            network.cpu()

    def _build(self) -> nn.Module:
        """On the CPU, in eval mode; leaves the global random numbers as they were."""
        from torch_fidelity.sample_similarity_lpips import URL_VGG16_LPIPS, SampleSimilarityLPIPS
        from torchvision.models import VGG16_Weights

        files = {hub_folder() / Path(url).name: url for url in (URL_VGG16_LPIPS, VGG16_Weights.IMAGENET1K_V1.url)}
        missing = {path: url for path, url in files.items() if not path.is_file()}
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            with torch.random.fork_rng(devices=[]):
                network = SampleSimilarityLPIPS("lpips-vgg16", sample_similarity_resize=self.resize,
                                                sample_similarity_dtype="float32")
        except Exception as error:  # noqa: BLE001 - torch.hub and unpickling fail in many ways
            raise _unavailable(list(files), missing, reason(error)[:200]) from error
        finally:
            socket.setdefaulttimeout(timeout)
        return network.requires_grad_(False).eval()


def _unavailable(files: list[Path], missing: dict[Path, str], why: str) -> UserError:
    if not missing:
        names = " or ".join(path.name for path in files)
        return UserError(f"{names} in {hub_folder()} is damaged ({why}): remove it, and it will be downloaded again")
    wanted = " and ".join(f"{path.name} ({url})" for path, url in missing.items())
    return WeightsMissing(f"path lengths need LPIPS on VGG16; what is not on this machine must be downloaded once and "
                          f"cannot be ({why}): {wanted}; from a machine with network, put that into {hub_folder()}")
