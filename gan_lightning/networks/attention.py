"""Self-attention over the positions of feature maps: Zhang et al. 2019 (SAGAN), arXiv:1805.08318, section 3."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import layout_of
from gan_lightning.precision import at_least_float32


class SelfAttention(nn.Module):
    """x + gamma * o(x): maps (N, C, H, W) -> the same shape; H and W even (eq. 1 to 3).

    Queries and keys have C/8 maps, values C/2; keys and values are pooled to a quarter of the positions, as in
    the networks that SAGAN and BigGAN (Brock et al. 2019, arXiv:1809.11096) report. The gate gamma starts at 0,
    so that a new network looks at its neighbourhood only.
    """

    def __init__(self, maps: int):
        super().__init__()
        inner, values = max(maps // 8, 1), max(maps // 2, 1)
        self.query = nn.Conv2d(maps, inner, 1, bias=False)
        self.key = nn.Conv2d(maps, inner, 1, bias=False)
        self.value = nn.Conv2d(maps, values, 1, bias=False)
        self.output = nn.Conv2d(values, maps, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)                        # (N, C/8, HW)
        key = F.max_pool2d(self.key(x), 2).flatten(2)           # (N, C/8, HW/4)
        value = F.max_pool2d(self.value(x), 2).flatten(2)       # (N, C/2, HW/4)
        # Not F.scaled_dot_product_attention: its kernels cannot be differentiated twice, and nothing is scaled here.
        with torch.autocast(x.device.type, enabled=False):
            query, key, value = at_least_float32(query), at_least_float32(key), at_least_float32(value)
            share = (query.transpose(1, 2) @ key).softmax(2)    # (N, HW, HW/4): a row per query
            seen = value @ share.transpose(1, 2)                # (N, C/2, HW)
        seen = seen.unflatten(2, x.shape[2:]).to(x.dtype).contiguous(memory_format=layout_of(x))
        return x + (self.gamma * self.output(seen)).to(x.dtype)


def attention_size(asked: int | None, default: int, possible: Sequence[int], model: str) -> int:
    """Size in pixels of the maps that are attended over, 0 for none; ConfigError if `asked` is not a size there is."""
    size = default if asked is None else asked
    if size and size not in possible:
        raise ConfigError(f"model.attention={size}: {model} has maps of {', '.join(map(str, possible))} px between its "
                          "blocks in both networks; choose one of these, or 0 for no attention")
    return size
