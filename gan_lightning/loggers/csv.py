"""metrics.csv."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gan_lightning.checkpoint import write_atomically


class CSV(Logger):
    """One row per record in `path`, first columns kimg and step; a cell stays empty where a row has no such value.

    Rows are appended as they come. A new column rewrites the file; a resumed run drops the rows that it is
    about to write again.
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = Path(path)
        self._columns: list[str] = []
        self._begun = False

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
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._begun:
            self._begin(metrics["kimg"])
        new = [name for name in metrics if name not in self._columns]
        if new:
            rows = self._read()
            self._columns += new
            self._rewrite(rows)
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(metrics)

    def _begin(self, kimg: float) -> None:
        self._begun = True
        rows = [row for row in self._read() if float(row["kimg"]) < kimg]
        if self.path.exists():
            self._rewrite(rows)

    def _read(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with open(self.path, newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if None not in row.values()]  # a killed run may have cut the last one
            self._columns = list(reader.fieldnames or [])
        return rows

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path, lambda file: file.write(text.getvalue().encode()))
