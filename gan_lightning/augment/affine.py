"""Affine maps of the plane, one for each image, in pixels from its middle, x to the right and y down."""

from typing import NamedTuple

import torch
from torch import Tensor


class Affine(NamedTuple):
    """Where a point is -> where it was, of which images are read; so the first change of an image is the outermost map.

    `matrix`: (N, 2, 2), on columns (x, y). `offset`: (N, 2), what is then added.
    """

    matrix: Tensor
    offset: Tensor

    def after(self, other: "Affine") -> "Affine":
        """The map that applies `other`, then this one."""
        return Affine(times(self.matrix, other.matrix), _applied(self.matrix, other.offset) + self.offset)

    def of(self, across: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """Points of all images, `across` (W) x `along` (H) -> x and y, (N, H, W) each."""
        (a, b), (c, d) = ((entry[:, None, None] for entry in row.unbind(-1)) for row in self.matrix.unbind(-2))
        x, y = (entry[:, None, None] for entry in self.offset.unbind(-1))
        along = along[:, None]
        return a * across + b * along + x, c * across + d * along + y


def undoing(matrix: Tensor, right: Tensor, down: Tensor) -> Affine:
    """Back from a move to the right and down, (N,) pixels, and then by `matrix`."""
    return Affine(matrix, -_applied(matrix, torch.stack([right, down], -1)))


def scaling(across: Tensor, along: Tensor) -> Tensor:
    """(N,) factors -> (N, 2, 2)."""
    return torch.diag_embed(torch.stack([across, along], -1))


def rotation(angle: Tensor) -> Tensor:
    """(N,) -> (N, 2, 2): from x towards y, which is clockwise as y points down."""
    return turning(angle.cos(), angle.sin())


def turning(cos: Tensor, sin: Tensor) -> Tensor:
    """The rotation (N, 2, 2) by an angle of which these are cosine and sine, (N,)."""
    return torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)


# Written out: a matrix product may be rounded to TF32, which is too coarse for coordinates.


def times(a: Tensor, b: Tensor) -> Tensor:
    """a b for matrices (N, 2, 2)."""
    return (a[..., None] * b[:, None]).sum(2)


def _applied(matrix: Tensor, points: Tensor) -> Tensor:
    return (matrix * points[:, None]).sum(2)
