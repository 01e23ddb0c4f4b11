"""The Inception network that FID, IS and KID are defined on."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gan_lightning.data.base import ImageData
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.cache import Cache
from gan_lightning.metrics.extractors.base import Extract, Extractor, exact
from gan_lightning.metrics.extractors.download import (
    WeightsMissing,
    download,
    file_sha256,
    hub_folder,
    read_state,
    reason,
)
from gan_lightning.metrics.extractors.resize import as_rgb, check_channels, clean_bicubic, tf1_bilinear

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
SIZE = 299
RESIZE = {"tf1": tf1_bilinear, "clean": clean_bicubic}
PRECISION = {"float32": torch.float32, "bf16": torch.bfloat16}
_CPU_CHUNK = 16  # larger ones no longer fit the processor's caches


class Inception(Extractor):
    """Inception v3 of 2015-12-05, in torch-fidelity's port: 2048 pooled features, 1008 logits without their bias.

    (Szegedy et al. 2016, arXiv:1512.00567; the logits' bias is left out as Salimans et al. 2016 did.)
    The network is changed in what costs time only: batch normalisation is folded into the convolutions, and
    images lie with their channels last; features agree with torch-fidelity's to 1e-5.

    Args:
        weights_path: a local file of the weights. Without it: PyTorch's hub folder, or a download to there.
        resize: to 299 pixels: "tf1", as FID is defined; "clean", antialiased (Parmar et al. 2022).
        precision: of weights and activations. "bf16" is faster, and another ruler: its scores are comparable
            with its own only, and bear its name.
        other_weights: accept weights other than the published ones, under a name that holds their hash.
    """

    dim = 2048
    logits = 1008

    pretrained = True

    def __init__(self, weights_path: str | None = None, resize: Literal["tf1", "clean"] = "tf1",
                 precision: Literal["float32", "bf16"] = "float32", other_weights: bool = False):
        for setting, value, allowed in (("resize", resize, RESIZE), ("precision", precision, PRECISION)):
            if value not in allowed:
                raise ConfigError(f"metrics.extractor.{setting}={value}: must be {' or '.join(allowed)}")
        self.weights_path, self.resize, self.precision = weights_path, resize, precision
        self.other_weights = other_weights
        self.sha256: str | None = None

    @property
    def path(self) -> Path:
        """Where the weights are, or will be, on this machine."""
        return Path(self.weights_path).expanduser() if self.weights_path else hub_folder() / FILE

    @property
    def name(self) -> str:
        parts = ["inception"]
        if self.resize != "tf1":
            parts.append(self.resize)
        if self.precision != "float32":
            parts.append(self.precision)
        if self.sha256 not in (None, SHA256):
            parts.append(self.sha256[:6])
        return "_".join(parts)

    @property
    def original(self) -> bool:
        return self.sha256 == SHA256 and self.resize == "tf1" and self.precision == "float32"

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        """Finds the weights or downloads them, and tries whether others than the published ones fit the network.

        Raises:
            WeightsMissing: they are not here, and cannot be downloaded.
            UserError: the file is another one, or none of weights.
        """
        if self.weights_path and not self.path.is_file():
            raise ConfigError(f"metrics.extractor.weights_path={self.weights_path}: there is no such file")
        if not self.path.is_file():
            try:
                download(URL, self.path, SHA256)
            except OSError as error:
                raise WeightsMissing(
                    f"Inception's weights, {FILE} (sha256 {SHA256}), are not on this machine and cannot be downloaded "
                    f"({reason(error)}): put the file into {self.path.parent}, or name it by "
                    f"metrics.extractor.weights_path=FILE; without it choose metrics=classifier (labelled data) or "
                    f"metrics=random_conv") from error
        self.sha256 = file_sha256(self.path)
        if self.sha256 != SHA256 and not self.other_weights:
            raise UserError(
                f"{self.path} has the sha256 {self.sha256}, but Inception's weights have {SHA256}: replace the file, "
                f"or use it under another name by metrics.extractor.other_weights=true")
        if self.sha256 != SHA256:
            self._network()

    def state(self) -> dict[str, str]:
        return {"sha256": self.sha256}

    def adopt(self, state: dict[str, str]) -> None:
        """Takes over which weights to use. Each process reads its machine's own file, in `loaded`, and compares."""
        self.sha256 = state["sha256"]

    def check(self, channels: int, resolution: int) -> None:
        check_channels("inception", channels)

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name, "weights": self.sha256, "layer": "2048", "logits": "logits_unbiased",
                "resize": f"{self.resize}-{SIZE}", "precision": self.precision}

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        body, fc = self._network()
        dtype, layout = PRECISION[self.precision], torch.channels_last
        body, fc = body.to(device, dtype, memory_format=layout), fc.to(device)
        resize = RESIZE[self.resize]

        def look(images: Tensor) -> tuple[Tensor, Tensor]:
            x = resize(images, SIZE).sub_(128).div_(128)
            x = as_rgb(x).to(dtype).contiguous(memory_format=layout)
            pool = body(x).float().mean((2, 3))
            return pool, pool @ fc.T

        def extract(images: Tensor) -> tuple[Tensor, Tensor]:
            with exact(device):
                chunks = images.to(device).split(_CPU_CHUNK if device.type == "cpu" else len(images))
                pools, logits = zip(*map(look, chunks), strict=True)
                return torch.cat(pools), torch.cat(logits)

        yield extract

    def _network(self) -> tuple[nn.Module, Tensor]:
        """All up to the last average, in float32 on the CPU, and the classifier's weights (1008, 2048)."""
        state = read_state(self.path, self.sha256)
        network = skeleton()
        try:
            network.load_state_dict(state, assign=True)
        except (RuntimeError, TypeError) as error:
            raise UserError(f"{self.path} holds other weights than an Inception v3 in torch-fidelity's port "
                            f"has (weights of torchvision's do not fit): {reason(error)[:200]}") from error
        network.requires_grad_(False).eval()
        *layers, _, fc = network.children()  # they are defined in the order of their use
        body = nn.Sequential(*layers)
        for module in body.modules():
            if hasattr(module, "bn"):
                module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), nn.Identity()
        return body, fc.weight.detach()


def skeleton() -> nn.Module:
    """torch-fidelity's network without memory for its weights, and so without drawing random ones."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Skeleton(FeatureExtractorInceptionV3):
        """Its constructor loads weights; there are none yet."""

        def load_state_dict(self, state_dict: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
            return super().load_state_dict(state_dict, *args, **kwargs) if state_dict else None

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("meta"):
        return Skeleton("inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=nothing)
