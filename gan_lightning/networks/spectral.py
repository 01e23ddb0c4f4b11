"""Spectral normalisation that torch.compile can take."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrizations import _SpectralNorm


class SpectralNorm(_SpectralNorm):
    """torch's own, a weight over its largest singular value, one power iteration for each call in training.

    Compiled by inductor, torch's fails when a network is called twice before the backward pass, as a discriminator is:
    the first call keeps the buffers of singular vectors for its backward pass, to compute from them what it has
    computed already, and the second call changes them. So compiled code gets the iteration as one opaque operation,
    whose results it has to keep.

    All in the weight's own precision: autocast on a GPU would take the products of matrix and vector to half precision.
    """

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return self._normalised(weight)

    def _normalised(self, weight: Tensor) -> Tensor:
        if not (torch.compiler.is_compiling() and self.training):
            return super().forward(weight)
        matrix = self._reshape_weight_to_matrix(weight)
        u, v = _power_iteration(matrix.detach(), self._v.clone(), self.eps)
        self._u.copy_(u)
        self._v.copy_(v)
        return weight / torch.vdot(u, torch.mv(matrix, v))


@torch.library.custom_op("gan_lightning::power_iteration", mutates_args=())
def _power_iteration(matrix: Tensor, v: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The next left and right singular vectors of `matrix` (m, n), of lengths m and n, from the right one."""
    u = F.normalize(torch.mv(matrix, v), dim=0, eps=eps)
    return u, F.normalize(torch.mv(matrix.T, u), dim=0, eps=eps)


@_power_iteration.register_fake
def _(matrix: Tensor, v: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return matrix.new_empty(matrix.shape[0]), matrix.new_empty(matrix.shape[1])
