"""StyleGAN2, config F: Karras et al. 2020, arXiv:1912.04958.

G with skip connections to the image, D with residual blocks (sec. 4.1, fig. 7). With classes: their embeddings in the
mapping network, and in D the product of its features with a normalised embedding, both as in Karras et al. 2020 (ADA),
arXiv:2006.06676, app. C. Noise, mixing of styles and truncation are those of Karras et al. 2019, arXiv:1812.04948.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.equalised import EqualConv2d, EqualLinear
from gan_lightning.networks.layers import check_cond, check_resolution, flatten, layout_of
from gan_lightning.networks.minibatch_stddev import MinibatchStddev
from gan_lightning.networks.stylegan2_layers import DiscriminatorBlock, Mapping, StyledLayer, ToImage, activation
from gan_lightning.networks.upfirdn import Upsample

RESOLUTIONS = tuple(2**k for k in range(3, 11))
W_AVG_DECAY = 0.995


def _sizes(resolution: int) -> list[int]:
    """4, 8, ..., resolution."""
    check_resolution(resolution, resolution in RESOLUTIONS, f"stylegan2 makes {', '.join(map(str, RESOLUTIONS))} px")
    return [2**k for k in range(2, resolution.bit_length())]


def _maps(size: int, channel_base: int, channel_max: int, width: float) -> int:
    if channel_base < 1 or channel_max < 1 or width <= 0:
        raise ConfigError(f"model.channel_base={channel_base}, model.channel_max={channel_max}, model.width={width}: "
                          "all must be above 0")
    return max(1, round(width * min(channel_base / size, channel_max)))


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution), about in [-1, 1]; clamped to it in eval mode.

    In training mode noise is new at each call, some images mix the styles of two latents, and `w_avg` follows the mean
    of w. In eval mode an image depends on its latent and label alone, unless noise is set to random
    (`gan_lightning.networks.noise`).

    Attribute for sampling, read in eval mode only:
        psi: truncation; w is moved to `w_avg + psi (w - w_avg)` (Karras et al. 2019, app. B).

    Args:
        w_dim: size of w, and of the mapping network's layers.
        mapping_layers: depth of the mapping network.
        channel_base, channel_max: min(channel_base / size, channel_max) maps at each size; a base of 16384 is the
            paper's config E.
        width: multiplies the numbers of maps.
        style_mixing: share of images made of two latents, the second from a random layer on. Its z is normal: after
            its normalisation, this is also what spherical latents are.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 512, w_dim: int = 512,
                 mapping_layers: int = 8, channel_base: int = 32768, channel_max: int = 512, width: float = 1.0,
                 style_mixing: float = 0.9):
        super().__init__()
        sizes = _sizes(resolution)
        if mapping_layers < 1:
            raise ConfigError(f"model.mapping_layers={mapping_layers}: must be at least 1; the paper has 8")
        if not 0 <= style_mixing <= 1:
            raise ConfigError(f"model.style_mixing={style_mixing}: must be from 0 to 1")
        self.z_dim, self.w_dim, self.num_classes, self.style_mixing = z_dim, w_dim, num_classes, style_mixing
        self.num_ws = 2 * len(sizes)
        self.psi = 1.0
        maps = [_maps(size, channel_base, channel_max, width) for size in sizes]
        self.map = Mapping(z_dim, num_classes, w_dim, mapping_layers)
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.const = nn.Parameter(torch.randn(1, maps[0], 4, 4))
        layers = [StyledLayer(maps[0], maps[0], w_dim, 4)]
        for size, (before, after) in zip(sizes[1:], pairwise(maps), strict=True):
            layers += [StyledLayer(before, after, w_dim, size, up=True), StyledLayer(after, after, w_dim, size)]
        self.layers = nn.ModuleList(layers)
        self.to_image = nn.ModuleList(ToImage(count, channels, w_dim) for count in maps)
        self.upsample = Upsample()

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        w = self.mapping(z, cond)
        if self.training:
            with torch.no_grad():
                self.w_avg.lerp_(w.detach().mean(0), 1 - W_AVG_DECAY)
        elif self.psi != 1:
            w = torch.lerp(self.w_avg, w, self.psi)
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if self.training and self.style_mixing:
            ws = self._mix(ws, self.mapping(torch.randn_like(z), cond))
        return self.synthesis(ws)

    def mapping(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """z (N, z_dim) -> w (N, w_dim), before any truncation."""
        check_cond(cond, self.num_classes)
        return self.map(z, cond)

    def synthesis(self, ws: Tensor) -> Tensor:
        """A w for each layer, (N, num_ws, w_dim) -> images. An image layer has the w of the next size's first layer."""
        layout = layout_of(self.layers[0].conv.weight)
        h = self.const.expand(len(ws), -1, -1, -1).contiguous(memory_format=layout)
        image = None
        for index, layer in enumerate(self.layers):
            h = layer(h, ws[:, index])
            if index % 2 == 0:    # the last layer of its size
                part = self.to_image[index // 2](h, ws[:, index + 1])
                image = part if image is None else self.upsample(image) + part
        return image if self.training else image.clamp(-1, 1)

    def _mix(self, ws: Tensor, other: Tensor) -> Tensor:
        """`other` (N, w_dim) from a random layer on, in a random part of the batch."""
        n, device = len(ws), ws.device
        start = torch.randint(1, self.num_ws, (n, 1), device=device)
        mixed = torch.rand(n, 1, device=device) < self.style_mixing
        taken = mixed & (torch.arange(self.num_ws, device=device) >= start)    # (N, num_ws)
        return torch.where(taken[..., None], other[:, None], ws)


class Discriminator(nn.Module):
    """Images (N, channels, resolution, resolution) -> logits (N, 1); features are the last dense layer's activations.

    With classes the logit is normalize(embed(label)) . D'(x) / sqrt(w_dim), D' being the network with w_dim outputs and
    the normalised embedding of mean square 1 (ADA, app. C).

    Args:
        w_dim: size of that embedding.
        mapping_layers: of a network between the normalised embedding and the product; the paper has none.
        channel_base, channel_max, width: as in G.
        group_size: of the minibatch standard deviation.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, w_dim: int = 512, mapping_layers: int = 0,
                 channel_base: int = 32768, channel_max: int = 512, width: float = 1.0, group_size: int = 4):
        super().__init__()
        sizes = _sizes(resolution)[::-1]
        if mapping_layers < 0:
            raise ConfigError(f"model.d_mapping_layers={mapping_layers}: must be at least 0, which is the paper's")
        if group_size < 1:
            raise ConfigError(f"model.group_size={group_size}: must be at least 1")
        maps = [_maps(size, channel_base, channel_max, width) for size in sizes]
        self.num_classes, self.num_features = num_classes, maps[-1]
        self.from_image = EqualConv2d(channels, maps[0], 1)
        self.blocks = nn.Sequential(*(DiscriminatorBlock(a, b) for a, b in pairwise(maps)))
        self.stddev = MinibatchStddev(group_size)
        self.conv = EqualConv2d(maps[-1] + 1, maps[-1], 3)
        self.dense = EqualLinear(maps[-1] * 4**2, maps[-1])
        self.map = Mapping(0, num_classes, w_dim, mapping_layers) if num_classes else None
        # With classes no bias: it would add a constant for each class, and reals and fakes have the same classes.
        self.last = EqualLinear(maps[-1], w_dim, bias=False) if num_classes else EqualLinear(maps[-1], 1)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        check_cond(cond, self.num_classes)
        h = self.blocks(activation(self.from_image(x)))
        h = activation(self.conv(self.stddev(h)))
        features = activation(self.dense(flatten(h)))
        logits = self.last(features)
        if self.map is not None:
            w = self.map(None, cond)
            logits = (logits * w).sum(1, keepdim=True) / math.sqrt(w.shape[1])
        return (logits, features) if return_features else logits
