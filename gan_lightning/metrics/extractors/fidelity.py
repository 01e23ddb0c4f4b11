"""Networks that torch-fidelity builds: CLIP, DINOv2, VGG16, and whatever is registered with it."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract, Extractor, exact
from gan_lightning.metrics.extractors.download import WeightsMissing, hub_folder, reason
from gan_lightning.metrics.extractors.resize import as_rgb, check_channels

_TIMEOUT = 15.0  # seconds; torch.hub itself would wait for ever


class TorchFidelityExtractor(Extractor):
    """A network from torch-fidelity's registry, at the layer that it takes for Fréchet distances.

    CLIP (Radford et al. 2021, arXiv:2103.00020) and DINOv2 (Oquab et al. 2023, arXiv:2304.07193) agree better with
    people about generated images than Inception does (Stein et al. 2023, arXiv:2306.04675). The network owns its
    resizing. torch-fidelity downloads the weights into PyTorch's hub folder; a hash of all tensors identifies them.

    Args:
        model: a name in the registry: clip-vit-b-32, clip-vit-l-14, dinov2-vit-b-14, vgg16 ...
        weights_path: a local file in the format that torch-fidelity reads for this model (for CLIP, the TorchScript
            file that OpenAI publishes). Loading it may execute code: only give files that you trust. DINOv2 takes none.
    """

    pretrained = True

    def __init__(self, model: str, weights_path: str | None = None):
        self.model, self.weights_path = model, weights_path
        self.sha256: str | None = None

    @property
    def name(self) -> str:
        return self.model.replace("-", "_")

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        """Builds the network once, which downloads its weights if need be.

        Raises:
            ConfigError: there is no such model.
            WeightsMissing: its weights cannot be had.
        """
        registry = _registry()
        if self.model not in registry or self.model.startswith("inception"):
            models = ", ".join(sorted(name for name in registry if not name.startswith("inception")))
            raise ConfigError(f"metrics.extractor.model={self.model}: must be one of {models} "
                              f"(for Inception choose metrics/extractor=inception)")
        if self.weights_path and not Path(self.weights_path).expanduser().is_file():
            raise ConfigError(f"metrics.extractor.weights_path={self.weights_path}: there is no such file")
        network = self._network()
        self.sha256 = state_sha256(network)
        with exact(torch.device("cpu")):
            self.dim = network(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))[0].shape[1]

    def state(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "dim": self.dim}

    def adopt(self, state: dict[str, Any]) -> None:
        self.sha256, self.dim = state["sha256"], state["dim"]

    def check(self, channels: int, resolution: int) -> None:
        check_channels(self.model, channels)

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name, "weights": self.sha256, "layer": self._layer(), "resize": "torch-fidelity",
                "precision": "float32"}

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        network = self._network()
        if state_sha256(network) != self.sha256:
            raise UserError(f"the weights of {self.model} on this machine are not those that were agreed on: remove "
                            f"them from {hub_folder().parent}, or give the same metrics.extractor.weights_path to all")
        network.to(device)

        def extract(images: Tensor) -> tuple[Tensor, None]:
            with exact(device):
                return network(as_rgb(images.to(device)).contiguous())[0].float(), None

        yield extract

    def _layer(self) -> str:
        return _registry()[self.model].get_default_feature_layer_for_metric("fid")

    def _network(self) -> nn.Module:
        """On the CPU, in eval mode; leaves the global random numbers as they were."""
        path = str(Path(self.weights_path).expanduser()) if self.weights_path else None
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            with torch.random.fork_rng(devices=[]):
                network = _registry()[self.model](self.model, [self._layer()], feature_extractor_weights_path=path,
                                                  verbose=False)
        except NotImplementedError as error:
            raise ConfigError(f"metrics.extractor.weights_path={path}: {self.model} takes no local file; choose null, "
                              f"and let it be downloaded into {hub_folder().parent}") from error
        except Exception as error:  # noqa: BLE001 - torch.hub and torch.jit fail in many ways
            why = reason(error)[:200]
            if path:
                raise UserError(f"metrics.extractor.weights_path={path}: these are no weights of {self.model} "
                                f"({why})") from error
            raise WeightsMissing(
                f"the weights of {self.model} are not on this machine and cannot be downloaded ({why}): "
                f"put them into {hub_folder().parent} as PyTorch would, from a machine with network; without them "
                f"choose metrics=classifier (labelled data) or metrics=random_conv") from error
        finally:
            socket.setdefaulttimeout(timeout)
        return network.requires_grad_(False).eval()


def _registry() -> dict[str, Any]:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    return FEATURE_EXTRACTORS_REGISTRY


def state_sha256(network: nn.Module) -> str:
    """A hash of all parameters and buffers, and of their names, types and shapes."""
    total = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # As bytes, since numpy knows no bfloat16.
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()
