"""Parts of StyleGAN2: Karras et al. 2020, arXiv:1912.04958, sec. 2 and 4, fig. 2 and 7."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.networks.equalised import EqualConv2d, EqualLinear, pixel_norm
from gan_lightning.networks.noise import Noise
from gan_lightning.networks.upfirdn import Blur, Downsample
from gan_lightning.precision import at_least_float32

MAPPING_LR = 0.01    # beside the other layers' (Karras et al. 2019, arXiv:1812.04948, app. C)


def activation(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times sqrt(2): keeps the mean square. Not in the weights, where demodulation would
    cancel it."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class Mapping(nn.Module):
    """z (N, z_dim) and labels (N,) -> w (N, w_dim), in float32.

    z is first brought to mean square 1, an embedding of the label as well, and both are put side by side (Karras et al.
    2020, ADA, arXiv:2006.06676, app. C). Either of them may be missing, and so may the layers after them.
    """

    def __init__(self, z_dim: int, num_classes: int, w_dim: int, layers: int):
        super().__init__()
        self.embed = nn.Embedding(num_classes, w_dim) if num_classes else None
        fans = [z_dim + (w_dim if num_classes else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(EqualLinear(a, b, lr=MAPPING_LR) for a, b in pairwise(fans))

    def forward(self, z: Tensor | None, cond: Tensor | None) -> Tensor:
        given = z if z is not None else self.embed.weight
        with torch.autocast(given.device.type, enabled=False):
            parts = [] if z is None else [pixel_norm(at_least_float32(z))]
            if self.embed is not None:
                parts.append(pixel_norm(self.embed(cond)))
            h = torch.cat(parts, dim=1)
            for layer in self.layers:
                h = activation(layer(h))
            return h


class ModulatedConv(nn.Module):
    """Convolution whose weights are multiplied by a style for each sample and input map, then divided by their norm
    for each output map (eq. 1 and 3): (N, I, H, W), w (N, w_dim) -> (N, O, H, W), or (N, O, 2H, 2W) with `up`.

    Scaling inputs and outputs instead of weights gives the same (sec. 2.2), by one convolution for the whole batch.
    With `up` it follows an upsampling by zeros and filter. These commute, so the filter comes last here and the
    convolution skips the zeros; its kernel is stored mirrored.
    """

    skip_init = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, w_dim: int, demodulate: bool = True,
                 up: bool = False):
        super().__init__()
        self.demodulate, self.padding = demodulate, kernel_size // 2
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.blur = Blur(padding=1, total=4.0) if up else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight = self.weight * self.scale
        with torch.autocast(x.device.type, enabled=False):
            style = self.affine(w)                                                     # (N, I)
            norm = self._inverse_norm(weight, style) if self.demodulate else None      # (N, O)
        x = x * style[..., None, None].to(x.dtype)
        if self.blur is None:
            x = F.conv2d(x, weight, padding=self.padding)
        else:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        return x if norm is None else x * norm[..., None, None].to(x.dtype)

    @staticmethod
    def _inverse_norm(weight: Tensor, style: Tensor) -> Tensor:
        squares = weight.square().sum((2, 3))                                          # (O, I)
        return (style.square() @ squares.T + 1e-8).rsqrt()


class StyledLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, activation: (N, I, H, W), w (N, w_dim) -> (N, O, size, size)."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, size: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, 3, w_dim, up=up)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise = Noise(size)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.conv(x, w)
        return activation(self.noise(x + self.bias[:, None, None].to(x.dtype)))


class ToImage(nn.Module):
    """The paper's tRGB: maps (N, I, H, W), w (N, w_dim) -> summand of the image (N, channels, H, W)."""

    def __init__(self, in_channels: int, channels: int, w_dim: int):
        super().__init__()
        self.conv = ModulatedConv(in_channels, channels, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.conv(x, w) + self.bias[:, None, None]


class DiscriminatorBlock(nn.Module):
    """Residual block, (N, I, H, W) -> (N, O, H/2, W/2); the factor sqrt(1/2) keeps the sum's mean square (app. B)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = EqualConv2d(in_channels, in_channels, 3)
        self.blur = Blur(padding=2)
        self.conv2 = EqualConv2d(in_channels, out_channels, 3, stride=2, padding=0)
        self.down = Downsample()
        self.shortcut = EqualConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = activation(self.conv1(x))
        h = activation(self.conv2(self.blur(h)))
        return (h + self.shortcut(self.down(x))) * math.sqrt(0.5)
