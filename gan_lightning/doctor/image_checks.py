"""What the pixels of a set tell: contrast, empty and grey images, and images that are there twice."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gan_lightning.data.base import ImageData
from gan_lightning.doctor.duplicates import common, conflicts, copies, near
from gan_lightning.doctor.file_checks import files_of
from gan_lightning.doctor.findings import Findings, part, shorten
from gan_lightning.doctor.pixels import Look

FLAT = 2.0                                              # grey levels: less spread than this is next to no picture
RANGE = 64                                              # grey levels: less than this, over all images, is too dark


@dataclass
class Seen:
    """A split of `data` that was looked at. what: "images" or "points"."""

    data: ImageData
    split: str
    look: Look
    what: str

    def __len__(self) -> int:
        return len(self.look.index)

    def name(self, place: int) -> str:
        """The name of the file, or the number in a set without files, of an entry of `look`."""
        index, files = int(self.look.index[place]), files_of(self.data).get(self.split)
        return f"{self.split} {self.what[:-1]} {index}" if files is None else files.names[index]

    def some(self, where: np.ndarray) -> str:
        """Names of the first few for which `where` is true."""
        return shorten([self.name(place) for place in np.flatnonzero(where)[:4]])


def check_values(findings: Findings, main: Seen) -> None:
    low, high, spread = int(main.look.low.min()), int(main.look.high.max()), main.look.spread
    findings.facts["values"] = f"{low} to {high}; standard deviation within an image: {np.median(spread):.0f} (median)"
    if high <= 1 and low != high:
        findings.add("problem", "values", "no value is above 1 of 255: the images are black",
                     "they were probably saved from numbers between 0 and 1: multiply by 255 and save again")
    elif high - low < RANGE:
        findings.add("warning", "values", f"all values lie between {low} and {high} of 0 to 255: little can be seen",
                     "stretch them over 0 to 255, in the same way for all images")
    else:
        findings.add("ok", "values", f"values run from {low} to {high} of 0 to 255")
    _empty(findings, main)
    _grey(findings, main)


def check_points(findings: Findings, main: Seen) -> None:
    low, high = main.look.low, main.look.high
    bad = ~(np.isfinite(low) & np.isfinite(high))
    if bad.any():
        findings.add("problem", "values", f"{part(int(bad.sum()), len(main), 'points')} are not finite, e.g. "
                     f"{main.some(bad)}", "remove them")
    else:
        findings.facts["values"] = f"{low.min():.3g} to {high.max():.3g}"
        findings.add("ok", "values", "all coordinates are finite")


def check_copies(findings: Findings, main: Seen, other: Seen | None) -> None:
    """Equal images: within a split, under different labels, in both splits."""
    found, name, what = copies(main.look.name), main.look.name, main.what
    if found.extra:
        findings.add("warning" if found.extra > len(main) / 100 else "note", "duplicates",
                     f"{part(found.extra, len(main), f'{main.split} {what}')} are exact copies of others, "
                     f"e.g. {_pairs(main, main, found.pairs)}",
                     "remove them: they weigh more in training, and pass for memorised ones in scores")
    else:
        findings.add("ok", "duplicates", f"no two {main.split} {what} are equal")
    if main.look.label is not None:
        clash = conflicts(name, main.look.label)
        if clash.extra:
            findings.add("warning", "conflicts", f"{clash.extra:,} equal {what} have different labels, "
                         f"e.g. {_pairs(main, main, clash.pairs)}", "keep each under its right label only")
        else:
            findings.add("ok", "conflicts", f"no equal {what} have different labels")
    if other is None:
        return
    shared = common(name, other.look.name)
    if shared.extra:
        held = part(shared.extra, len(other), f"{other.split} {what}")
        findings.add("warning", "leaks", f"{held} are also in {main.split}, e.g. {_pairs(main, other, shared.pairs)}",
                     f"remove them from {main.split}: else nothing held out tells learning from memorising")
    else:
        findings.add("ok", "leaks", f"no {other.split} {what} are also in {main.split}")


def check_near_copies(findings: Findings, main: Seen, other: Seen | None) -> None:
    """Images that are nearly equal, or mirrored; pairs within `other` do not count."""
    both = [main] if other is None else [main, other]
    found, total = near([(seen.data.source(seen.split), seen.look) for seen in both]), sum(map(len, both))
    sampled = f" (of {found.looked:,} that were compared)" if found.looked < 0.9 * total else ""
    for topic, pairs, words in (("near copies", found.same, "nearly equal to others"),
                                ("mirrored", found.mirrored, "mirror images of others")):
        pairs = [pair for pair in pairs if pair[1] < len(main)]
        later = {one for one, _ in pairs}
        if not pairs:
            findings.add("ok", topic, f"no images are {words}{sampled}")
            continue
        across = sum(one >= len(main) for one in later)
        held = f"; {across:,} of them are {other.split} images" if across else ""
        examples = [f"{_placed(both, two)} ~ {_placed(both, one)}" for one, two in pairs[:4]]
        findings.add("warning" if len(later) > total / 100 else "note", topic,
                     f"{'at least ' * found.more}{part(len(later), total, 'images')} are {words}{sampled}{held}, "
                     f"e.g. {shorten(examples, between='; ')}",
                     "look at these: saved twice, or frames of one film? Keep one of each")


def _empty(findings: Findings, main: Seen) -> None:
    constant, flat = main.look.low == main.look.high, main.look.spread < FLAT
    if not flat.any():
        findings.add("ok", "empty", "no image is empty")
        return
    black, white = main.look.high == 0, main.look.low == 255
    counts = {"black": black.sum(), "white": white.sum(), "of another colour": (constant & ~black & ~white).sum(),
              "with next to no contrast": (flat & ~constant).sum()}
    words = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    findings.add("problem" if flat.all() else "warning", "empty",
                 f"{part(int(flat.sum()), len(main), 'images')} are empty ({words}), e.g. {main.some(flat)}",
                 "remove them, unless they belong there")


def _grey(findings: Findings, main: Seen) -> None:
    grey = main.look.grey
    if main.data.channels != 3 or not grey.any():
        return
    if grey.all():
        findings.add("warning", "grey", "all images are grey, but are handed out with 3 equal channels",
                     "choose data.channels=1: there is less to learn and to compute")
    else:
        findings.add("note", "grey", f"{part(int(grey.sum()), len(main), 'images')} are grey among colour ones, e.g. "
                     f"{main.some(grey)}", "remove them if the generator should not make such images")


def _pairs(one: Seen, other: Seen, pairs: Iterable[tuple[int, int]]) -> str:
    return shorten([f"{one.name(first)} = {other.name(second)}" for first, second in pairs], between="; ")


def _placed(both: list[Seen], position: int) -> str:
    """The name of a position counted on from the first split to the second."""
    first = len(both[0])
    return both[0].name(position) if position < first else both[1].name(position - first)
