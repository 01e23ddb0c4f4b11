"""A small convolutional generator that upsamples by repetition (its opponent is an MLP: see networks/mlp.py).

Nearest upsampling followed by a convolution cannot make the checkerboards of transposed convolutions
(Odena et al. 2016, doi:10.23915/distill.00003).
"""

from torch import Tensor, nn

from gan_lightning.networks.layers import (
    GeneratorNorm,
    LabelConcat,
    check_norm,
    check_resolution,
    needs_bias,
    norm_2d,
    project_to_maps,
)


class Generator(nn.Module):
    """z (N, z_dim) -> images (N, channels, resolution, resolution) in [-1, 1].

    A dense projection to 256 maps of a quarter of the resolution, then twice: nearest upsampling, 3x3
    convolution (128, 64); leaky ReLU of slope 0.2.

    Args:
        norm: after the projection and after each convolution but the last.
        label_dim: length of the label's embedding, concatenated to z.
    """

    def __init__(self, resolution: int, channels: int, num_classes: int = 0, z_dim: int = 100,
                 norm: GeneratorNorm = "batch", label_dim: int = 32):
        super().__init__()
        check_resolution(resolution, resolution >= 8 and resolution % 4 == 0,
                         "upsample_mlp makes multiples of 4 px from 8 on (8, 12, ..., 28, 32, ...)")
        check_norm("model.g_norm", norm, GeneratorNorm)
        self.z_dim, self.num_classes = z_dim, num_classes
        base, bias = resolution // 4, needs_bias(norm)
        self.label = LabelConcat(z_dim, num_classes, label_dim)
        self.project = project_to_maps(self.label.out_features, 256, base, norm, nn.LeakyReLU(0.2))
        self.maps = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(256, 128, 3, padding=1, bias=bias),
            norm_2d(norm, 128), nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2), nn.Conv2d(128, 64, 3, padding=1, bias=bias),
            norm_2d(norm, 64), nn.LeakyReLU(0.2),
            nn.Conv2d(64, channels, 3, padding=1), nn.Tanh(),
        )

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.maps(self.project(self.label(z, cond)))
