"""Adaptive pseudo augmentation."""

import torch
from torch import Tensor

from gan_lightning.augment.steering import Steered


class APA(Steered):
    """D takes a fake for a real with probability p, which rises as D overfits: images stay as they are (Jiang et al.
    2021, arXiv:2111.06849).

    p is steered as in ADA, by the paper's lambda_r = E[sign(D(real))] with its threshold of 0.6. The logits are
    those of all that D took for reals. Under a loss of pairs (rpgan) a fake taken for a real meets itself, so that pair
    teaches nothing.
    """

    works_on_points = True

    def reals(self, real: Tensor, fake: Tensor) -> Tensor:
        deceived = torch.rand(len(real), device=real.device) < self.p
        return torch.where(deceived.view(-1, *[1] * (real.ndim - 1)), fake.to(real.dtype), real)
