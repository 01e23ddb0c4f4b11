"""What is done to images before D sees them: to reals and fakes alike, so that G need not learn it."""

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Task


class Augment(nn.Module):
    """Subclasses write `forward`, and what else they need.

    Random numbers come from torch's global generator, which the engine seeds in each step. State is buffers: they are
    in checkpoints, and floating ones are averaged over devices.
    """

    works_on_points = False
    """Whether it makes sense for points (N, 2) too."""

    def bind(self, task: Task) -> None:
        """Called once, when the game is put together: for what depends on its loss or networks."""

    def readings(self) -> dict[str, Tensor]:
        """Scalars worth a curve, by name; they stay on the device until somebody looks."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        """Float32 images (N, C, H, W) in [-1, 1] -> the same, changed; differentiable twice. Each sample by itself."""
        return x

    def reals(self, real: Tensor, fake: Tensor) -> Tensor:
        """What D takes for reals in its own step, before `forward`; both (N, C, H, W), without gradients."""
        return real

    def observe(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        """Called in D's step with its logits, detached: once for each batch that is accumulated."""

    def adapt(self, images: int) -> None:
        """Called after each step of D, which took `images` reals on all devices. All devices call it."""

    def set_nimg(self, nimg: int) -> None:
        """Called before each step: how many real images D has seen."""


def augmented(augment: Augment | None, x: Tensor) -> Tensor:
    """x as D is to see it: changed in float32 or better, or as it is without an augmentation."""
    if augment is None:
        return x
    with torch.autocast(x.device.type, enabled=False):
        return augment(at_least_float32(x))


def check_images(x: Tensor, augment: str) -> None:
    """ConfigError unless `x` are images (N, C, H, W)."""
    if x.ndim != 4:
        raise ConfigError(f"augment={augment}: it changes images, and these data are not, with shape "
                          f"{tuple(x.shape[1:])} each; choose augment=none or augment=instance_noise")
