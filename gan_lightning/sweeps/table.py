"""sweep.csv, and the table that a sweep ends with."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from gan_lightning.sweeps.files import write_text
from gan_lightning.sweeps.jobs import Outcome, short

TABLE, PICTURE, BEST = "sweep.csv", "sweep.png", "best.yaml"
TOP = 10


@dataclass(frozen=True)
class Row:
    """A job and what came of it. `swept`: the values in which jobs differ, by key."""

    number: int
    swept: dict[str, str]
    folder: str
    outcome: Outcome

    @property
    def scored(self) -> bool:
        return self.outcome.best is not None and isfinite(self.outcome.best)


def name_of(key: str) -> str:
    """The setting that the key of an override names: `+x.y` sets x.y."""
    return key.lstrip("+~")


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """One row per job, a column per swept setting; cells stay empty where nothing is known."""
    keys = list(dict.fromkeys(key for row in rows for key in row.swept))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["number", "state", *map(name_of, keys), "score", "best", "last", "reals", "kimg", "seconds",
                     "fingerprint", "folder", "error"])
    for row in rows:
        out = row.outcome
        cells = [row.number, out.state, *(row.swept.get(key) for key in keys), out.score, out.best, out.last, out.reals,
                 out.kimg, out.seconds, out.fingerprint, row.folder, out.error]
        writer.writerow(["" if cell is None else cell for cell in cells])
    write_text(path, text.getvalue())


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Those with a score, the best first; equal ones by number."""
    with_score = [row for row in rows if row.scored]
    sign = -1 if any(row.outcome.higher_is_better for row in with_score) else 1
    return sorted(with_score, key=lambda row: (sign * row.outcome.best, row.number))


def printed(rows: Sequence[Row], limit: int = TOP) -> str:
    """The best rows in columns; without scores, the first ones."""
    best = ranked(rows)
    chosen = (best or [row for row in rows if row.outcome.state != "waiting"])[:limit]
    if not chosen:
        return ""
    keys = list(dict.fromkeys(key for row in rows for key in row.swept))
    scored = [best[0].outcome.score, "reals"] if best else []
    lines = [["job", "state", *map(name_of, keys), *scored, "kimg", "seconds"]]
    for row in chosen:
        out = row.outcome
        numbers = [*([out.best, out.reals] if best else []), out.kimg, out.seconds]
        lines.append([str(row.number), out.state, *(short(row.swept.get(key, "")) for key in keys),
                      *("" if number is None else f"{number:,.4g}" for number in numbers)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                     for line in lines)
