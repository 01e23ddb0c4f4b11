"""Images that are there twice: equal in every pixel, or nearly, or mirrored."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_lightning.data.sources import Source
from gan_lightning.doctor.pixels import SIDE, Look

# Chosen so that most JPEG copies of quality 75 and more are found (about 0.03 and 0.1 apart), and hardly two scans of a
# handwritten digit are taken for one: in MNIST, the two most alike, both a one, are 0.06 and 0.13 apart.
ALIKE = 0.1                                             # distance of two thumbnails of length 1
CLOSE = 0.15                                            # rms difference of pixels of mean 0 and standard deviation 1
BUDGET = 2e9                                            # pairs of thumbnails compared at most: 10 to 20 s on a core
CANDIDATES = 20_000                                     # pairs whose pixels are compared at most


class Copies(NamedTuple):
    """Sets of equal images. extra: images beyond the first of each set. pairs: an example of the largest sets."""

    extra: int
    pairs: list[tuple[int, int]]


def copies(name: np.ndarray) -> Copies:
    """Equal images by the hash of their pixels, (n,): as positions in it."""
    groups = _groups(name)
    groups.sort(key=len, reverse=True)
    return Copies(sum(len(group) - 1 for group in groups), [(int(group[0]), int(group[1])) for group in groups[:5]])


def conflicts(name: np.ndarray, label: np.ndarray) -> Copies:
    """Equal images with different labels. extra: all images of such sets."""
    groups = [group for group in _groups(name) if len(np.unique(label[group])) > 1]
    pairs = [(int(group[0]), int(group[label[group] != label[group[0]]][0])) for group in groups[:5]]
    return Copies(sum(map(len, groups)), pairs)


def common(name: np.ndarray, other: np.ndarray) -> Copies:
    """Images of `other` that are among the first, with (position in the first, position in `other`)."""
    _, first = np.unique(name, return_index=True)
    places = np.flatnonzero(np.isin(other, name))
    known = {name[i]: int(i) for i in first[np.isin(name[first], other[places])]}
    return Copies(len(places), [(known[other[place]], int(place)) for place in places[:5]])


class Near(NamedTuple):
    """Pairs of similar images, (image, earlier image), as positions; `looked` of all images took part.

    more: whether there were more pairs than were looked at.
    """

    same: list[tuple[int, int]]
    mirrored: list[tuple[int, int]]
    looked: int
    more: bool


def near(parts: list[tuple[Source, Look]]) -> Near:
    """Similar images among those of all `parts`, whose positions are counted on from part to part; equal ones are
    counted once. Thumbnails decide which pixels are compared."""
    thumbnail = np.concatenate([part.thumbnail for _, part in parts])
    name = np.concatenate([part.name for _, part in parts])
    chosen = np.unique(name, return_index=True)[1]
    chosen = np.sort(chosen[np.any(thumbnail[chosen], axis=1)])
    chosen = _affordable(thumbnail, chosen)
    small = torch.from_numpy(thumbnail[chosen]).float()
    found, more = [], False
    for mirrored in (False, True):
        pairs, cut = _candidates(small, _flipped(small) if mirrored else small)
        more |= cut
        found.append([(int(chosen[i]), int(chosen[j])) for i, j in pairs])
    same = _confirmed(parts, found[0], mirrored=False)
    known = set(same)                                   # symmetric images are mirror images of their copies
    mirrored = [pair for pair in _confirmed(parts, found[1], mirrored=True) if pair not in known]
    return Near(same, mirrored, len(chosen), more)


def _groups(name: np.ndarray) -> list[np.ndarray]:
    """Positions of equal values, for every value that is there twice or more."""
    order = np.argsort(name, kind="stable")
    starts = np.flatnonzero(np.r_[True, name[order][1:] != name[order][:-1]])
    return [group for group in np.split(order, starts[1:]) if len(group) > 1]


def _axis(small: Tensor) -> Tensor:
    """The direction in which thumbnails differ most, (SIDE^2,): those that are far apart along it are not alike."""
    centred = small - small.mean(0)
    return torch.linalg.eigh((centred.T @ centred).double())[1][:, -1].float()


def _affordable(thumbnail: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Of the `chosen`, at random as many as can be compared within the budget."""
    if len(chosen) < 2:
        return chosen
    random = np.random.default_rng(0)
    few = torch.from_numpy(thumbnail[np.sort(random.choice(chosen, min(len(chosen), 20_000), replace=False))]).float()
    key = (few @ _axis(few)).sort().values
    share = (torch.searchsorted(key, key + ALIKE) - torch.searchsorted(key, key - ALIKE)).double().mean() / len(key)
    most = int((BUDGET / max(share.item(), 1e-6)) ** 0.5)
    return chosen if len(chosen) <= most else np.sort(random.choice(chosen, most, replace=False))


def _candidates(small: Tensor, queries: Tensor) -> tuple[list[tuple[int, int]], bool]:
    """(i, j) with j < i and queries[i] like small[j], and whether there were too many. Exact: two that are alike lie
    within ALIKE of each other along any axis, so only neighbours on one need be compared."""
    if len(small) < 2:
        return [], False
    axis = _axis(small)
    key, order = (small @ axis).sort()
    ask, asked = (queries @ axis).sort()
    low, high = torch.searchsorted(key, ask - ALIKE), torch.searchsorted(key, ask + ALIKE, right=True)
    sorted_small, least = small[order], 1 - ALIKE**2 / 2
    pairs, block = [], 256
    for start in range(0, len(ask), block):
        a, b = int(low[start]), int(high[min(start + block, len(ask)) - 1])
        if a == b:
            continue
        product = queries[asked[start:start + block]] @ sorted_small[a:b].T
        rows, columns = (product >= least).nonzero(as_tuple=True)
        i, j = asked[start + rows], order[a + columns]
        pairs += zip(i[j < i].tolist(), j[j < i].tolist(), strict=True)
        if len(pairs) > CANDIDATES:
            return pairs[:CANDIDATES], True
    return pairs, False


def _confirmed(parts: list[tuple[Source, Look]], pairs: list[tuple[int, int]], mirrored: bool) -> list[tuple[int, int]]:
    """The pairs whose pixels differ by little, whatever their brightness and contrast."""
    kept = []
    for start in range(0, len(pairs), 64):
        block = pairs[start:start + 64]
        one, other = (_taken(parts, [pair[side] for pair in block]) for side in (0, 1))
        one = one.flip(-1) if mirrored else one
        difference = (_standard(one) - _standard(other)).square().mean(1).sqrt()
        kept += [pair for pair, near in zip(block, (difference <= CLOSE).tolist(), strict=True) if near]
    return sorted(kept)


def _standard(images: Tensor) -> Tensor:
    """Of mean 0 and standard deviation 1, as rows."""
    rows = images.flatten(1).float()
    return (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True, correction=0)


def _taken(parts: list[tuple[Source, Look]], positions: list[int]) -> Tensor:
    images, ends = [], np.cumsum([len(part.index) for _, part in parts])
    for position in positions:
        part = int(np.searchsorted(ends, position, side="right"))
        source, seen = parts[part]
        index = seen.index[position - (ends[part] - len(seen.index))]
        images.append(source.take(torch.tensor([index]))["real"].cpu())
    return torch.cat(images)


def _flipped(small: Tensor) -> Tensor:
    return small.unflatten(1, (SIDE, SIDE)).flip(-1).flatten(1)
