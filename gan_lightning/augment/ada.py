"""Adaptive discriminator augmentation."""

from collections.abc import Callable
from itertools import groupby

from torch import Tensor, nn

from gan_lightning.augment.base import check_images
from gan_lightning.augment.placing import Placing, placed
from gan_lightning.augment.steering import Steered
from gan_lightning.augment.transform import Transform


class ADA(Steered):
    """Each transformation falls to each image with probability p, which is steered by how much D overfits
    (Karras et al. 2020, arXiv:2006.06676).

    p never leaves 0 to 1; in the authors' code nothing stops it above 1, from where it takes longer to come back.

    Args:
        transforms: name -> group of transformations, in the order in which they are made; null switches one off. Those
            of place in a row (blit, geometric) read images once, for all of them together, as in the paper.
    """

    def __init__(self, transforms: dict[str, Transform | None], p: float = 0.0, target: float = 0.6, every: int = 4,
                 kimg: float = 500.0, schedule: float | Callable[[int], float] | None = None,
                 relativistic: bool | None = None):
        super().__init__(p, target, every, kimg, schedule, relativistic)
        self.transforms = nn.ModuleDict({name: part for name, part in transforms.items() if part is not None})

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, "ada")
        for placing, groups in groupby(self.transforms.values(), lambda group: isinstance(group, Placing)):
            if placing:
                x = placed(x, self.p, list(groups))
            else:
                for group in groups:
                    x = group(x, self.p)
        return x
