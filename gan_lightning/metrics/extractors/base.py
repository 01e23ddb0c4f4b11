"""An extractor: what is seen of an image. Scores are only comparable through the same one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gan_lightning.data.base import ImageData
from gan_lightning.metrics.cache import Cache

Extract = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""uint8 (b, C, H, W), or points (b, 2) -> features, float (b, dim), and logits, float (b, k) or None."""


class Extractor:
    """Gives features of images. It owns its resizing; its weights exist only while `loaded` is open.

    The order of calls: `prepare` on one process of each machine; `state` on the first process of all and `adopt` of
    what it gave on every process; then `dim`, `logits` and `fingerprint` are known, and `loaded` may be opened.
    """

    name: str
    """Ends the names of scores: fd_NAME."""

    dim: int
    logits: int = 0

    original: bool = False
    """Whether these are the features that FID, IS and KID are defined on, and nothing else."""

    pretrained: bool = False
    """Whether it is a published network, whose features kernel distances take as they are."""

    automatic: bool = False
    """Whether it was chosen for the user: scores that it cannot serve are then left out, and else refused."""

    def prepare(self, data: ImageData, cache: Cache, device: torch.device) -> None:
        """Finds, downloads or trains what it needs. Raises UserError at once if that is impossible."""

    def state(self) -> Any:
        """What the first process found out in `prepare` and all others must agree on: plain containers and tensors."""
        return None

    def adopt(self, state: Any) -> None:
        """Takes over the `state` of the first process."""

    def check(self, channels: int, resolution: int) -> None:
        """Raises ConfigError for images that it cannot look at."""

    def fingerprint(self) -> dict[str, Any]:
        """What decides the features: name, hash of the weights, layer, resize, precision."""
        raise NotImplementedError

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Extract]:
        """The network on `device`, in eval mode, as a function; freed afterwards."""
        raise NotImplementedError
        yield


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Plain float32 arithmetic without gradients, whatever the training runs in: no autocast, no TF32."""
    cudnn = torch.backends.cudnn
    flags = cudnn.enabled, cudnn.benchmark, cudnn.deterministic
    with _no_tf32(), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        try:
            cudnn.enabled, cudnn.benchmark, cudnn.deterministic = True, False, True
            yield
        finally:
            cudnn.enabled, cudnn.benchmark, cudnn.deterministic = flags


@contextmanager
def _no_tf32() -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if not hasattr(torch.backends, "fp32_precision"):  # before torch 2.9
        before = cudnn.allow_tf32, matmul.allow_tf32
        try:
            cudnn.allow_tf32, matmul.allow_tf32 = False, False
            yield
        finally:
            cudnn.allow_tf32, matmul.allow_tf32 = before
        return
    # Newer torch refuses to mix this with the older flags, whichever the user has set.
    mkldnn = torch.backends.mkldnn
    places = (cudnn.conv, matmul, mkldnn.conv, mkldnn.matmul)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value
