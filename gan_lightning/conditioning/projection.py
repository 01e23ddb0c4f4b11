"""The projection of Miyato & Koyama 2018 (arXiv:1802.05637), for discriminators whose own way is another."""

from torch import Tensor

from gan_lightning.conditioning.base import Head
from gan_lightning.networks.layers import Projection, check_cond


class ProjectionHead(Head):
    """Adds <embed(label), features> to the logit (ibid., eq. 3); it has no loss of its own."""

    def __init__(self, num_features: int, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.projection = Projection(num_features, num_classes)

    def logit(self, features: Tensor, cond: Tensor | None) -> Tensor:
        check_cond(cond, self.num_classes)
        return self.projection(features, cond)
