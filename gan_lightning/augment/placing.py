"""Groups that change where things are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_lightning.augment.affine import Affine
from gan_lightning.augment.transform import Draw, Transform
from gan_lightning.augment.warping import copied, warped


class Placing(Transform):
    """A group of affine maps. Such groups in a row make one map, by which images are read once (Karras et al. 2020,
    app. B.1), so that nothing is filtered twice, nor mirrored at a border that was moved before. Subclasses write
    `back`.
    """

    whole = False
    """Whether pixels go to the places of pixels: if no other groups change an image, its pixels are copied."""

    def back(self, draw: Draw) -> Affine:
        """From where a point is to where it was; the identity for images that stay."""
        raise NotImplementedError

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        return placed(x, p, [self])


def placed(x: Tensor, p: Tensor, groups: Sequence[Placing]) -> Tensor:
    """x (N, C, H, W) after all the groups, the first one first."""
    draws = [group.draw(x, p) for group in groups]
    backs = [group.back(draw) for group, draw in zip(groups, draws, strict=True)]
    copies = [i for i, group in enumerate(groups) if group.whole]
    between = [i for i, group in enumerate(groups) if not group.whole]
    result = x
    if copies:
        result = _where_any([draws[i] for i in copies], copied(x, _in_a_row([backs[i] for i in copies])), result)
    if between:
        result = _where_any([draws[i] for i in between], warped(x, _in_a_row(backs)), result)
    return result


def _in_a_row(backs: Sequence[Affine]) -> Affine:
    first, *others = backs
    for back in others:
        first = first.after(back)
    return first


def _where_any(draws: Sequence[Draw], changed: Tensor, otherwise: Tensor) -> Tensor:
    """`changed` where one of the groups changes an image."""
    chosen = torch.stack([draw.changed for draw in draws]).any(0)
    return torch.where(chosen[:, None, None, None], changed, otherwise)
