"""Batch normalisation with the statistics of the joint batch of all devices."""

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_sum
from gan_lightning.metrics.together import rank_and_world


class _Synchronised(_BatchNorm):
    """Unlike torch's own layer it works on the CPU, in float64, and may be differentiated twice."""

    def forward(self, x: Tensor) -> Tensor:
        live = self.training or self.running_mean is None
        if not live or rank_and_world()[1] == 1:
            return super().forward(x)
        self._check_input_dim(x)
        precise = x if x.dtype == torch.float64 else x.float()
        mean, variance, count = _moments(precise)
        if self.training and self.track_running_stats:
            self._note(mean.detach(), (variance * count / (count - 1)).detach())
        scale = (variance + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        shape = [-1, *[1] * (x.ndim - 2)]
        return torch.addcmul(shift.view(shape), precise, scale.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance per channel, each (C,), over the joint batch, and its number of values (1,).

    From each device's mean and variance: sums of squares would lose what the mean and the square have in common.
    """
    rank, world = rank_and_world()
    dims = [0, *range(2, x.ndim)]
    channels, count = x.shape[1], x.numel() // max(x.shape[1], 1)
    variance, mean = torch.var_mean(x, dims, correction=0)
    mine = torch.cat([mean, variance, mean.new_full((1,), count)])
    place = torch.zeros(world, 1, dtype=mine.dtype, device=mine.device)
    place[rank] = 1
    means, variances, counts = joint_sum(place * mine).split([channels, channels, 1], dim=1)  # one row per device
    total = counts.sum(0)
    share = counts / total
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean).square())).sum(0), total


SYNCHRONISED = {kind: type(f"Sync{kind.__name__}", (_Synchronised, kind), {})
                for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)}


class SyncBatchNorms(LayerSync):
    """Turns every batch normalisation of a model into a synchronised one, and back: the same objects, weights, keys."""

    def apply(self, model: nn.Module) -> nn.Module:
        for name, layer in model.named_modules():
            if isinstance(layer, _BatchNorm) and not isinstance(layer, _Synchronised):
                if type(layer) not in SYNCHRONISED:
                    raise ConfigError(f"trainer.sync_batchnorm=true: {name} is a {type(layer).__name__}, and only "
                                      f"{', '.join(kind.__name__ for kind in SYNCHRONISED)} can be synchronised")
                layer.__class__ = SYNCHRONISED[type(layer)]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        plain = {synchronised: kind for kind, synchronised in SYNCHRONISED.items()}
        for layer in model.modules():
            layer.__class__ = plain.get(type(layer), type(layer))
        return model
