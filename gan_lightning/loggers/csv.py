"""metrics.csv."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gan_lightning.checkpoint import write_atomically
from gan_lightning.writing import Writing

Row = dict[str, float]


class CSV(Logger):
    """One row per record in `path`, first columns kimg and step; a cell stays empty where a row has no such value.

    Rows are appended as they come. A new column, a resume, and a row that could not be written, rewrite the file.
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = Path(path)
        self._rows: list[Row] = []
        self._columns: list[str] = []
        self._whole = False  # whether the file holds all rows and nothing else
        self._writing = Writing(self.path.name)

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """config.yaml has them."""

    @rank_zero_only
    def go_on_from(self, rows: list[Row], nimg: int) -> None:
        """The file becomes that of a run which has recorded `rows` so far: what came after a checkpoint comes again."""
        self._rows, self._whole = list(rows), False
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        if rows or self.path.exists():
            self._write()

    @rank_zero_only
    def log_metrics(self, metrics: Row, step: int | None = None) -> None:
        new = [name for name in metrics if name not in self._columns]
        self._columns += new
        self._rows.append(dict(metrics))
        if self._whole and not new:
            self._whole = self._writing.attempt(lambda: self._append(metrics))
        else:
            self._write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._rows and not self._whole:
            self._write()

    def _append(self, row: Row) -> None:
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _write(self) -> None:
        text = io.StringIO(newline="")
        if self._rows:
            writer = csv.DictWriter(text, self._columns)
            writer.writeheader()
            writer.writerows(self._rows)
        content = text.getvalue().encode()
        self._whole = self._writing.attempt(lambda: write_atomically(self.path, lambda file: file.write(content)))
