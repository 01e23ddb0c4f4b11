"""What is done to images before D sees them: reals and fakes alike, and differentiably, so that G is not told to draw it."""

from torch import Tensor, nn


class Augment(nn.Module):
    """Subclasses write `forward`, and what else they need.

    Random numbers come from torch's global generator, which the engine seeds in each step. State is buffers: they are in
    checkpoints, and floating ones are averaged over devices.
    """

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
