"""Minibatch standard deviation: Karras et al. 2018, arXiv:1710.10196, sec. 3."""

import torch
from torch import Tensor, nn

from gan_lightning.precision import at_least_float32


class MinibatchStddev(nn.Module):
    """Appends to D's maps how much the samples of a group differ: (N, C, H, W) -> (N, C + num_channels, H, W).

    For each of `num_channels` sections of the maps: the standard deviation over the group at each place, averaged over
    places and maps to one number, which every sample of the group gets as a constant map. Sample i is in group
    i mod (N / size), where size is the largest divisor of N up to `group_size`. Groups lie within the batch of one
    device. Taken in float32.

    Args:
        group_size: the whole batch in the paper; 4 as in the networks that came after.
    """

    def __init__(self, group_size: int = 4, num_channels: int = 1):
        super().__init__()
        self.group_size, self.num_channels = group_size, num_channels

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        size = next(size for size in range(min(self.group_size, n), 0, -1) if n % size == 0)
        with torch.autocast(x.device.type, enabled=False):
            groups = at_least_float32(x).unflatten(0, (size, n // size))
            deviations = groups - groups.mean(0)
            # 1e-8: the root of zero, for samples that are all alike, has no derivative.
            stddev = (deviations.square().mean(0) + 1e-8).sqrt()                        # (N / size, C, H, W)
            stddev = stddev.unflatten(1, (self.num_channels, c // self.num_channels)).mean((2, 3, 4))
        maps = stddev.to(x.dtype).repeat(size, 1)[..., None, None].expand(n, self.num_channels, h, w)
        return torch.cat([x, maps], dim=1)

    def extra_repr(self) -> str:
        return f"group_size={self.group_size}, num_channels={self.num_channels}"
