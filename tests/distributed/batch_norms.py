"""What a synchronised batch normalisation gives, and its first and second derivatives."""

import torch
from torch import nn

from gan_lightning.sync_batch_norm import SyncBatchNorms


def derivatives(rank: int, world: int) -> dict:
    """Of the share of the joint batch that is this process's."""
    found = {}
    for name, layer, shape in (("maps", nn.BatchNorm2d(3), (12, 3, 4, 5)), ("vectors", nn.BatchNorm1d(6), (12, 6)),
                               ("plain", nn.BatchNorm2d(3, affine=False, track_running_stats=False), (12, 3, 4, 5)),
                               ("mean of all", nn.BatchNorm1d(6, momentum=None), (12, 6))):
        torch.manual_seed(1)
        network = SyncBatchNorms().apply(nn.Sequential(layer.double()))
        x = (torch.randn(shape, dtype=torch.float64) * 3 + 7).chunk(world)[rank].requires_grad_()
        for _ in range(2):
            y = network(x)
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        found[name] = {"y": y.detach(), "first": first.detach(), "second": second, "buffers": list(layer.buffers())}
    return found
