"""Adaptive discriminator augmentation."""

from collections.abc import Callable

from torch import Tensor, nn

from gan_lightning.augment.base import check_images
from gan_lightning.augment.steering import Steered
from gan_lightning.augment.transform import Transform


class ADA(Steered):
    """Each transformation falls to each image with probability p, which is steered by how much D overfits
    (Karras et al. 2020, arXiv:2006.06676).

    Args:
        transforms: name -> group of transformations, in the order in which they are made; null switches one off.
    """

    def __init__(self, transforms: dict[str, Transform | None], p: float = 0.0, target: float = 0.6, every: int = 4,
                 kimg: float = 500.0, schedule: float | Callable[[int], float] | None = None,
                 relativistic: bool | None = None):
        super().__init__(p, target, every, kimg, schedule, relativistic)
        self.transforms = nn.ModuleDict({name: part for name, part in transforms.items() if part is not None})

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, "ada")
        for transform in self.transforms.values():
            x = transform(x, self.p)
        return x
