"""The data doctor: what a data set is like, and what is wrong with it, before any hour of training is spent."""

from collections import Counter
from dataclasses import replace

import numpy as np

from gan_lightning.data.base import ImageData, Split
from gan_lightning.data.decoded import Decoded, sizes
from gan_lightning.doctor.file_checks import check_files, files_of
from gan_lightning.doctor.findings import Findings, shorten
from gan_lightning.doctor.image_checks import Seen, check_copies, check_near_copies, check_points, check_values
from gan_lightning.doctor.pixels import look
from gan_lightning.errors import UserError

FEW, VERY_FEW = 5000, 100                               # images to train on
SAMPLES = 100                                           # images in a score
LISTED = 100                                            # classes whose sizes are listed one by one


def examine(data: ImageData, limit: int = 200_000) -> Findings:
    """Everything that can be told of a data set without a network. `data.prepare()` must have been called.

    limit: of a set too large for memory, at most so many images are decoded, chosen at random.

    Files that cannot be read are reported; `data` leaves them out from here on, so that the rest can be judged.
    """
    strict = getattr(data, "on_error", "skip") == "raise"
    if strict:
        data.on_error = "skip"
        for files in files_of(data).values():           # of a set that is streamed, and was read before
            files.on_error = "skip"
    findings = Findings(f"{getattr(data, 'root', 'data')} ({type(data).__name__})")
    main, other = _see(data, data.split, limit), None
    try:
        other = _see(data, "test" if data.split == "train" else "train", limit)
    except UserError as error:
        findings.add("note", "splits", f"only {data.split} images are there ({error})",
                     "without held-out images, scores cannot tell well whether any were learnt by heart")
    seen = [part for part in (main, other) if part is not None]
    _infer(findings, data, seen)
    _check_count(findings, data, main)
    _check_classes(findings, data, main)
    if main.what == "points":
        check_points(findings, main)
        check_copies(findings, main, other)
    else:
        check_files(findings, data, [part.split for part in seen], strict)
        check_values(findings, main)
        check_copies(findings, main, other)
        check_near_copies(findings, main, other)
    return findings


def sample_advice(n_fake: int, n_real: int, dim: int) -> list[str]:
    """What is to be said of scores of so many images through an extractor with `dim` features; one line each."""
    lines = []
    n, which = min((n_fake, "generated"), (n_real, "real"))
    if n < SAMPLES:
        lines.append(f"{n:,} {which} images: with fewer than {SAMPLES} every score is mostly chance; take more")
    if n <= dim:
        lines.append(f"{n:,} {which} images, but {dim:,} features: their covariance is singular, and a Fréchet "
                     f"distance tells more of the number of images than of the images; read it beside its floor only, "
                     f"prefer the kernel distance, or choose an extractor with fewer features")
    elif n < 5 * dim:
        lines.append(f"{n:,} {which} images for {dim:,} features: a Fréchet distance comes out too large; compare it "
                     f"only with others of as many images, and with its floor")
    return lines


def _see(data: ImageData, split: Split, limit: int) -> Seen:
    found = replace(look(data.source(split), f"{split} images", limit), total=data.count(split))
    return Seen(data, split, found, "points" if found.thumbnail is None else "images")


def _infer(findings: Findings, data: ImageData, seen: list[Seen]) -> None:
    facts, main = findings.facts, seen[0]
    facts |= {part.split: f"{part.look.total:,} {part.what}" for part in seen}
    if main.what == "points":
        facts["points"] = f"{data.channels} coordinates"
    else:
        facts["images"] = f"{data.resolution} x {data.resolution}, {data.channels} channel{'s' * (data.channels > 1)}"
    files = files_of(data).get(data.split)
    if files is not None:
        facts["files"] = {"sizes": sizes(files.kinds), "formats": _shares(files, "format"),
                          "modes": _shares(files, "mode")}
    for part in seen:
        if len(part) < part.look.total:
            how = "chosen at random" if part.look.total == len(data.source(part.split)) else "from all over the set"
            facts[f"looked at {part.split}"] = f"{len(part):,} of {part.look.total:,}, {how}"


def _check_count(findings: Findings, data: ImageData, main: Seen) -> None:
    n, what = main.look.total, main.what
    if n < data.batch_size:
        findings.add("problem", "count", f"{n:,} {what} do not fill a batch of data.batch_size={data.batch_size}",
                     f"choose data.batch_size={n} or less, or add {what}")
    elif n < VERY_FEW:
        findings.add("warning", "count", f"{n:,} {what} are very few: the discriminator will know them by heart",
                     "add more; else expect copies of them, and look at memorisation and diversity before all else")
    elif n < FEW:
        findings.add("note", "count", f"{n:,} {what} are few: the discriminator may learn them by heart",
                     "watch the scores, memorisation among them, and take the best checkpoint, not the last")
    else:
        findings.add("ok", "count", f"{n:,} {what} to train on")


def _check_classes(findings: Findings, data: ImageData, main: Seen) -> None:
    if main.look.label is None:
        advice = "for a conditional GAN or scores by class: one folder per class, and data.num_classes"
        findings.add("note", "classes", "no labels are handed out", advice if files_of(data) else "")
        return
    count = np.bincount(main.look.label, minlength=data.num_classes)
    names = getattr(data, "class_names", ())
    names = list(names) if len(names) == len(count) else [f"class {i}" for i in range(len(count))]
    if len(count) <= LISTED:
        findings.facts["classes"] = dict(zip(names, count.tolist(), strict=True))
    small, large = int(count.argmin()), int(count.argmax())
    words = f"{names[small]} has {count[small]:,} {main.what}, {names[large]} {count[large]:,}"
    empty, ratio = [names[i] for i in np.flatnonzero(count == 0)], count[large] / max(count[small], 1)
    if empty:
        findings.add("warning", "classes", f"{len(empty)} of {len(count)} classes have no {data.split} {main.what}: "
                     f"{shorten(empty)}", "add some, or remove these classes")
    elif ratio > 10:
        findings.add("warning", "classes", f"{len(count)} classes, far from balanced ({ratio:.0f} to 1): {words}",
                     "rare classes will look worse and vary less: add images, or look at scores by class")
    elif ratio > 2:
        findings.add("note", "classes", f"{len(count)} classes, not balanced ({ratio:.1f} to 1): {words}",
                     "look at scores by class too")
    else:
        findings.add("ok", "classes", f"{len(count)} classes, balanced: {words}" if small != large else
                     f"{len(count)} classes of {count[0]:,} {main.what}")


def _shares(files: Decoded, field: str) -> dict[str, int]:
    """How many files have each value of a field of `FileKind`."""
    count = Counter()
    for kind, n in files.kinds.items():
        count[getattr(kind, field)] += n
    return dict(count.most_common())
