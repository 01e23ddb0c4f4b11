"""Results side by side, for people."""

from gan_lightning.metrics.fingerprint import refuse_difference
from gan_lightning.metrics.result import Result, Scored

HALVES = ("reals: what one half of the reals gets against the other (Fréchet distances scaled to these numbers); where "
          "a score reaches it, it tells fakes from reals no longer")
BETTER = {True: "higher", False: "lower", None: ""}


def table(results: dict[str, Result]) -> str:
    """One line per score, one column per result, and what reals would get; then what all of it rests on.

    Raises:
        ConfigError: the same score in two results has different fingerprints, and so means different things.
    """
    names = list(dict.fromkeys(name for result in results.values() for name in result.scores))
    for name in names:
        _check_same(name, {title: result.scores[name] for title, result in results.items() if name in result.scores})
    shown = {} if _of_reals(next(iter(results.values()))) else results
    heads = ["", *(["value"] if len(shown) == 1 else shown), "reals", "better", "fingerprint"]
    rows = [_row(name, results, shown) for name in names]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                       for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in [heads, *rows]]
    return "\n".join(["", *lines, "", *_notes(next(iter(results.values())), names)])


def _check_same(name: str, scores: dict[str, Scored]) -> None:
    (first, one), *others = scores.items()
    for other, scored in others:
        refuse_difference(one.fingerprint, scored.fingerprint, f"{name} of {first} and of {other}")


def _of_reals(result: Result) -> bool:
    """Whether it holds nothing but what reals get."""
    return all(scored.fingerprint["generator"].get("reals") for scored in result.scores.values())


def _row(name: str, results: dict[str, Result], shown: dict[str, Result]) -> list[str]:
    scored = next(result.scores[name] for result in results.values() if name in result.scores)
    values = [number(result.scores[name].value) if name in result.scores else "" for result in shown.values()]
    return [name, *values, number(scored.reals), BETTER[scored.higher_is_better], scored.id]


def number(value: float | None) -> str:
    """Four significant digits."""
    return "" if value is None else f"{value:.4g}" if abs(value) < 10000 else f"{value:.0f}"


def _notes(result: Result, names: list[str]) -> list[str]:
    """What the numbers were computed from, and what must not be read into them."""
    facts = next(iter(result.scores.values())).fingerprint
    extractor = facts["extractor"]
    samples = f"{facts['num_fake']:,} samples"
    if facts["generator"].get("images"):
        samples = f"{facts['num_fake']:,} images"
    elif not facts["generator"].get("reals"):
        samples += f" (seed {facts['seed']})"
    through = f", seen through {extractor['name']}" if extractor["name"] else ""
    against = f"against {facts['num_real']:,} reals of the {facts['split']} split ({facts['data'][:8]})"
    notes = [f"{samples} {against}{through}" if facts["num_real"] else f"{samples}{through}"]
    if facts["num_real"]:
        notes.append(facts.get("reals") or HALVES)
    if any(name.startswith(("fd_", "kd_", "cs_")) for name in names):
        notes.append("fd_, kd_ and cs_ are the distances of FID, KID and IS on other features: NOT FID, KID or IS, and "
                     "comparable only at the same fingerprint")
    return notes
