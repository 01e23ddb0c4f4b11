"""Virtual batch normalisation: a batch's statistics without the batch's say in each other's images."""

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import ConditionalNorm
from gan_lightning.precision import at_least_float32


class VirtualBatchNorm2d(nn.Module):
    """Normalises each sample by the statistics of a reference batch with this sample added to it (Salimans et al. 2016,
    arXiv:1606.03498, sec. 3.4). So a sample does not depend on the others it is made with, in training or after it.

    The reference batch goes through the network with each batch, as its first `references` rows: maps (references + N,
    C, H, W) -> the same. It is normalised by its own statistics.
    """

    def __init__(self, maps: int, references: int, affine: bool = True, eps: float = 1e-5):
        super().__init__()
        self.references, self.eps = references, eps
        self.weight = nn.Parameter(torch.ones(maps)) if affine else None
        self.bias = nn.Parameter(torch.zeros(maps)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        precise = at_least_float32(x)
        with torch.autocast(x.device.type, enabled=False):
            variance, mean = self._moments(precise)
            scale = (variance + self.eps).rsqrt()
            scale = scale if self.weight is None else scale * self.weight
            shift = -mean * scale if self.bias is None else self.bias - mean * scale
            return torch.addcmul(shift[..., None, None], precise, scale[..., None, None]).to(x.dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Variance and mean for each row and channel, (references + N, C)."""
        n = self.references
        of_batch, batch_mean = torch.var_mean(x[:n], (0, 2, 3), correction=0)  # (C,)
        of_own, own_mean = torch.var_mean(x[n:], (2, 3), correction=0)  # (N, C)
        # Moments of two sets of n and 1 parts from those of each: squares of sums would lose digits.
        variance = (n * of_batch + of_own) / (n + 1) + (batch_mean - own_mean).square() * (n / (n + 1) ** 2)
        mean = (n * batch_mean + own_mean) / (n + 1)
        return torch.cat([of_batch.expand(n, -1), variance]), torch.cat([batch_mean.expand(n, -1), mean])


class ReferenceBatch(nn.Module):
    """Fixed latents, N(0, 1), and labels if there are classes, that go through a generator in front of every batch."""

    def __init__(self, references: int, z_dim: int, num_classes: int):
        super().__init__()
        if references < 2:
            raise ConfigError(f"model.generator.references={references}: model.g_norm=virtual takes its statistics "
                              "from them, and needs at least 2")
        self.register_buffer("z", torch.randn(references, z_dim))
        self.register_buffer("cond", torch.arange(references) % num_classes if num_classes else None)

    def before(self, z: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Latents (N, z_dim) and labels -> (references + N, z_dim), and labels."""
        z = torch.cat([self.z.to(z.dtype), z])
        return z, None if cond is None else torch.cat([self.cond, cond])

    def without(self, images: Tensor) -> Tensor:
        """Images of such a batch -> those of the N latents."""
        return images[len(self.z):]


def virtual_norm(maps: int, references: int, num_classes: int) -> nn.Module:
    """The layer on a generator's maps, with gains and biases by class where there are any."""
    if not num_classes:
        return VirtualBatchNorm2d(maps, references)
    layer = ConditionalNorm("none", maps, num_classes)
    layer.norm = VirtualBatchNorm2d(maps, references, affine=False)
    return layer
