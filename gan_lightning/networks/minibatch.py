"""What lets a discriminator compare the samples of a batch with each other."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gan_lightning.joint import joint_cat
from gan_lightning.networks.layers import check_choice

Minibatch = Literal["none", "discrimination"]


class MinibatchDiscrimination(nn.Module):
    """Appends to each sample's features how close it is to the others, (N, F) -> (N, F + kernels) (Salimans et al.
    2016, arXiv:1606.03498, sec. 3.2): o(x_i)_b = sum over j of exp(-||M_ib - M_jb||_1), with M_i = f(x_i) T.

    In training the sum is over the joint batch of all devices, x_i itself included, as in the paper. Needs memory for
    N x joint N x kernels x depth numbers.

    Args:
        kernels, depth: the paper's B and C, numbers of closenesses and of coordinates that each is measured in.
    """

    def __init__(self, num_features: int, kernels: int = 32, depth: int = 5):
        super().__init__()
        self.kernels, self.depth, self.out_features = kernels, depth, num_features + kernels
        self.project = nn.Linear(num_features, kernels * depth, bias=False)  # T

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            precise = features.to(self.project.weight.dtype)
            own = self.project(precise).unflatten(1, (self.kernels, self.depth))
            others = joint_cat(own) if self.training else own
            distance = (own[:, None] - others).abs().sum(3)  # (N, joint N, kernels)
            return torch.cat([precise, (-distance).exp().sum(1)], 1)


def minibatch_layer(kind: Minibatch, num_features: int) -> tuple[nn.Module, int]:
    """The layer called `kind` on feature vectors, and the length of what it returns."""
    check_choice("model.minibatch", kind, get_args(Minibatch))
    if kind == "none":
        return nn.Identity(), num_features
    layer = MinibatchDiscrimination(num_features)
    return layer, layer.out_features
