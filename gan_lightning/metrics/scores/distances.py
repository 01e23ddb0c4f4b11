"""Euclidean distances between two sets of vectors, tile by tile: never all pairs at once.

A tile comes from a matrix product in float64, |x|^2 + |y|^2 - 2 <x, y> about the points' mean, which is fast but rounds
to some 1e-14 of the norms. Whatever that leaves open is settled by the differences themselves, so that identical
vectors are at a distance of exactly 0.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

TILE = 1 << 22
"""Float64 numbers in a tile of distances, and in the vectors copied for it: 34 MB each."""
ROUNDING = 1e-12
"""A bound on the rounding of a product tile, relative to the squared norms; distances closer than this are equal."""
SPARE = 8
"""Candidates beyond the k nearest of a tile whose differences are taken as well, for their order may be rounding's."""


def nearest(queries: Tensor, points: Tensor, k: int, block: int | None = None,
            exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """The k points nearest to each query.

    Args:
        queries: float (a, d). points: float (b, d), on the same device.
        block: queries that are looked at together; None for what fits TILE. It does not change the result.
        exclude_self: `queries` are the `points`, and none is its own neighbour (a duplicate of it may be).

    Returns:
        Distances (a, k), float64, ascending, and the points' indices (a, k), int64.
    """
    available = len(points) - exclude_self
    if not 1 <= k <= available:
        raise ValueError(f"k must be 1 to {available}, the number of points that can be neighbours, got {k}")
    distances = torch.empty((len(queries), k), dtype=torch.float64, device=points.device)
    indices = torch.empty((len(queries), k), dtype=torch.int64, device=points.device)
    centre = points.mean(0, dtype=torch.float64)
    for start, stop in _spans(len(queries), block or _rows(queries)):
        own = torch.arange(start, stop, device=points.device)
        candidates = _candidates(queries[start:stop], points, centre, k + SPARE, own if exclude_self else None)
        i = own.repeat_interleave(candidates.shape[1])
        squared = squared_distances(queries, points, i, candidates.flatten()).view_as(candidates)
        if exclude_self:
            squared.masked_fill_(candidates == own[:, None], torch.inf)
        squared, order = squared.sort(dim=1, stable=True)
        distances[start:stop] = squared[:, :k].sqrt()
        indices[start:stop] = candidates.gather(1, order[:, :k])
    return distances, indices


def balls_around(queries: Tensor, points: Tensor, radii: Sequence[Tensor], strict: Sequence[bool]) -> list[Tensor]:
    """In how many balls each query lies, for several choices of radii at once.

    Args:
        queries: float (a, d). points: float (b, d), the centres.
        radii: each float64 (b,), one radius per point.
        strict: for each of `radii`, whether the surface is outside (distance < radius) or inside (<=).

    Returns:
        For each of `radii`, int64 (a,): the number of points nearer to the query than their radius.
    """
    counts = [torch.zeros(len(queries), dtype=torch.int64, device=queries.device) for _ in radii]
    centre = points.mean(0, dtype=torch.float64)
    for start, stop in _spans(len(queries), _rows(queries)):
        for first, tile, scale in _tiles(queries[start:stop], points, centre):
            last = first + tile.shape[1]
            for count, radius, open_ball in zip(counts, radii, strict, strict=True):
                bound = radius[first:last].double().square().expand_as(tile)
                inside = tile < bound
                i, j = ((tile - bound).abs() <= ROUNDING * scale).nonzero(as_tuple=True)  # too close to call
                squared = squared_distances(queries, points, i + start, j + first)
                inside[i, j] = _inside(squared, bound[i, j], open_ball)
                count[start:stop] += inside.sum(1)
    return counts


def inside(distances: Tensor, radii: Tensor, strict: bool) -> Tensor:
    """Whether distance < radius (`strict`) or <= radius, where a difference of rounding alone is none."""
    return _inside(distances.square(), radii.square(), strict)


def squared_distances(queries: Tensor, points: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """|queries[i] - points[j]|^2 from the differences, float64, for pairs of indices (n,)."""
    result = torch.empty(len(i), dtype=torch.float64, device=queries.device)
    for start, stop in _spans(len(i), max(1, TILE // queries.shape[1])):
        difference = queries[i[start:stop]].double().sub_(points[j[start:stop]])
        result[start:stop] = difference.square_().sum(1)
    return result


def _inside(squared: Tensor, bound: Tensor, strict: bool) -> Tensor:
    return squared < bound * (1 - ROUNDING) if strict else squared <= bound * (1 + ROUNDING)


def _candidates(x: Tensor, points: Tensor, centre: Tensor, k: int, own: Tensor | None) -> Tensor:
    """Indices (rows, k or all) of the points that are nearest by the product, in ascending order."""
    values = torch.empty((len(x), 0), dtype=torch.float64, device=points.device)
    indices = torch.empty((len(x), 0), dtype=torch.int64, device=points.device)
    for first, tile, _ in _tiles(x, points, centre):
        if own is not None:
            row = ((own >= first) & (own < first + tile.shape[1])).nonzero().squeeze(1)
            tile[row, own[row] - first] = torch.inf
        near, where = tile.topk(min(k, tile.shape[1]), dim=1, largest=False)
        values, indices = torch.cat((values, near), 1), torch.cat((indices, where + first), 1)
        values, kept = values.topk(min(k, values.shape[1]), dim=1, largest=False)
        indices = indices.gather(1, kept)
    return indices.sort(1).values  # so that among equal distances the smallest index comes first


def _tiles(x: Tensor, points: Tensor, centre: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """First point, squared distances (rows, points) and the scale of their rounding, |x|^2 + |y|^2."""
    x = x.double() - centre
    x_norm = x.square().sum(1, keepdim=True)
    for first, last in _spans(len(points), max(64, min(TILE // len(x), TILE // points.shape[1]))):
        y = points[first:last].double() - centre
        scale = x_norm + y.square().sum(1)
        yield first, torch.addmm(scale, x, y.T, alpha=-2), scale


def _rows(queries: Tensor) -> int:
    """Queries to look at together."""
    return max(1, min(1024, TILE // queries.shape[1]))


def _spans(n: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, n)) for start in range(0, n, size))
