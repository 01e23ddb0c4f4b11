"""What the headers of a set's files tell: damage, compression, sizes, colour."""

from collections import Counter
from collections.abc import Callable, Collection

import numpy as np

from gan_lightning.data.base import ImageData
from gan_lightning.data.decoded import Decoded, FileKind
from gan_lightning.data.inspect import GREY
from gan_lightning.doctor.findings import Findings, part, shorten

LONG = 2                                                # times as long as wide
Kinds = Counter[FileKind]


def files_of(data: ImageData) -> dict[str, Decoded]:
    """The files of each split that has been read; none for a set that is not made of files."""
    return {split: files for split, files in getattr(data, "files", {}).items() if files.kinds}


def check_files(findings: Findings, data: ImageData, splits: Collection[str], strict: bool) -> None:
    """strict: whether training would stop at a file that cannot be read."""
    found = {split: files for split, files in files_of(data).items() if split in splits}
    if not found:
        return
    kinds = sum((files.kinds for files in found.values()), Counter())
    _damaged(findings, list(found.values()), strict)
    _lossy(findings, {split: files.kinds for split, files in found.items()}, kinds)
    _upscaled(findings, data.resolution, kinds)
    _cropped(findings, kinds)
    colour = _count(kinds, lambda kind: kind.mode not in GREY)
    if data.channels == 1 and colour:
        findings.add("note", "colour", f"{part(colour, kinds.total(), 'files')} are stored in colour, and handed out "
                     f"as grey", "choose data.channels=3 if their colour matters")
    deep = _count(kinds, lambda kind: kind.mode.startswith("I"))
    if deep:
        findings.add("note", "depth", f"{part(deep, kinds.total(), 'files')} have 16 bits per pixel, and are handed "
                     f"out with 8", "nothing to do, unless they use a small part of 0 to 65,535: then rescale them")


def _damaged(findings: Findings, found: list[Decoded], strict: bool) -> None:
    damaged = []
    for files in found:
        late = {files.names[index]: reason for index, reason in files.replaced.items()}
        damaged += [f"{name} ({reason})" for name, reason in (files.unreadable | late).items()]
    if not damaged:
        findings.add("ok", "damaged", "all files can be read")
        return
    findings.add("problem" if strict else "warning", "damaged",
                 f"{len(damaged):,} files cannot be read: {shorten(damaged)}",
                 "training would stop at the first: mend or remove them, or leave them out with data.on_error=skip"
                 if strict else "they are left out; mend or remove them")


def _lossy(findings: Findings, by_split: dict[str, Kinds], kinds: Kinds) -> None:
    formats = sorted({kind.format for kind in kinds if kind.lossy})
    if not formats:
        findings.add("ok", "lossy", "no file was compressed with loss")
        return
    shares = {split: _count(counted, lambda kind: kind.lossy) / counted.total() for split, counted in by_split.items()}
    differ = max(shares.values()) - min(shares.values()) > 0.01
    where = "".join(f"; {split}: {share:.0%}" for split, share in shares.items()) if differ else ""
    share = part(_count(kinds, lambda kind: kind.lossy), kinds.total(), "files")
    findings.add("warning", "lossy", f"{share} were compressed with loss ({', '.join(formats)}){where}: "
                 f"compression alone moves a FID by units",
                 "take lossless originals if there are any; else say so beside every score, and never save generated "
                 "images as JPEG to score them")


def _upscaled(findings: Findings, resolution: int, kinds: Kinds) -> None:
    smaller = _count(kinds, lambda kind: min(kind[:2]) < resolution)
    if not smaller:
        findings.add("ok", "upscaled", f"no file is smaller than data.resolution={resolution}")
        return
    findings.add("warning" if smaller > kinds.total() / 20 else "note", "upscaled",
                 f"{part(smaller, kinds.total(), 'files')} are smaller than data.resolution={resolution} and are "
                 f"enlarged, which blurs them (the smallest has {min(min(kind[:2]) for kind in kinds)} px)",
                 f"choose a data.resolution of at most {_usual_side(kinds)}, or leave small files out")


def _usual_side(kinds: Kinds) -> int:
    """The shorter side that all but 5 % of the files reach."""
    sides = sorted((min(kind[:2]), n) for kind, n in kinds.items())
    passed = np.cumsum([n for _, n in sides])
    return sides[int(np.searchsorted(passed, 0.05 * passed[-1], side="right"))][0]


def _cropped(findings: Findings, kinds: Kinds) -> None:
    total, uneven = kinds.total(), _count(kinds, lambda kind: kind.width != kind.height)
    if not uneven:
        findings.add("ok", "cropped", "all files are square: nothing is cropped away")
        return
    long = _count(kinds, lambda kind: max(kind[:2]) >= LONG * min(kind[:2]))
    lost = sum(n * (1 - min(kind[:2]) / max(kind[:2])) for kind, n in kinds.items()) / total
    findings.add("warning" if long > total / 100 else "note", "cropped",
                 f"{part(uneven, total, 'files')} are not square: their centre is kept, and on average {lost:.1%} of "
                 f"a picture is lost" + (f"; {long:,} are at least {LONG} times as long as wide" if long else ""),
                 "crop them yourself if what matters is not in the centre")


def _count(kinds: Kinds, which: Callable[[FileKind], bool]) -> int:
    return sum(n for kind, n in kinds.items() if which(kind))
