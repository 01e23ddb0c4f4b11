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
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (torch.inference_mode(), torch.autocast(device.type, enabled=False),
              torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
