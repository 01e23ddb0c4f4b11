"""What ADA's groups of transformations have in common."""

from math import log

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError


class Transform(nn.Module):
    """A group of changes, each made to each image with probability `chance` p, by itself (Karras et al. 2020, app. B).

    An image that none of the changes fell to stays as it is, to the last bit. Subclasses write `forward`.
    """

    def __init__(self, chance: float = 1.0):
        super().__init__()
        if chance < 0:
            raise ConfigError(f"augment.transforms.{type(self).__name__.lower()}.chance={chance}: must be at least 0")
        self.chance = chance

    def draw(self, x: Tensor, p: Tensor) -> "Draw":
        """Random numbers for this group's changes of x (N, C, H, W)."""
        return Draw(x, p * self.chance)

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        """Images (N, C, H, W), probability () -> images."""
        raise NotImplementedError


class Draw:
    """Random numbers for the images of a batch, (N,) each, and which of the images are to change at all."""

    def __init__(self, x: Tensor, p: Tensor):
        self.x, self.p = x, p
        self.changed = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def falls(self, p: Tensor | None = None) -> Tensor:
        """Which images the next change falls to, with probability p each."""
        chosen = torch.rand(len(self.x), device=self.x.device, dtype=self.x.dtype) < (self.p if p is None else p)
        self.changed = self.changed | chosen
        return chosen

    def where(self, values: Tensor, otherwise: float, p: Tensor | None = None) -> Tensor:
        """`values` with probability p each, `otherwise` for the rest."""
        return torch.where(self.falls(p), values, otherwise)

    def uniform(self, low: float, high: float) -> Tensor:
        return torch.rand(len(self.x), device=self.x.device, dtype=self.x.dtype) * (high - low) + low

    def normal(self, std: float) -> Tensor:
        return torch.randn(len(self.x), device=self.x.device, dtype=self.x.dtype) * std

    def octaves(self, std: float) -> Tensor:
        """A factor whose logarithm to base 2 is N(0, std^2)."""
        return (self.normal(std) * log(2)).exp()

    def integers(self, below: int) -> Tensor:
        return torch.randint(below, (len(self.x),), device=self.x.device)

    def chosen(self, changed: Tensor) -> Tensor:
        """`changed` where an image is to change, else the image itself; (N, C, H, W)."""
        return torch.where(self.changed[:, None, None, None], changed, self.x)
