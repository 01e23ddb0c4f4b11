"""Curves of losses and metrics over kimg."""

from pathlib import Path

import lightning as L

from gan_lightning.callbacks.every_kimg import EveryKimg
from gan_lightning.callbacks.scores import Scores
from gan_lightning.checkpoint import write_atomically
from gan_lightning.journal import Row
from gan_lightning.module import GANModule
from gan_lightning.pictures import figure_png, new_figure
from gan_lightning.writing import Writing

HEALTH = ("health/d_pairs", "health/diversity", "health/distance")
"""What the watchdog measures that is worth a panel."""


TITLES = {"d": "discriminator", "g": "generator"}
WIDE = 20.0  # a metric that falls by this factor is drawn on a logarithmic axis


class Curves(EveryKimg):
    """Draws `curves.png` from all rows recorded so far, those before a resume included."""

    def __init__(self, every_kimg: float = 20.0):
        super().__init__(every_kimg)
        self._writing = Writing("curves.png")

    def act(self, trainer: L.Trainer, module: GANModule) -> None:
        if trainer.is_global_zero and module.journal.rows:
            png = draw_curves(module.journal.rows, _reals(trainer))
            path = Path(trainer.default_root_dir) / "curves.png"
            self._writing.attempt(lambda: write_atomically(path, lambda file: file.write(png)))


def _reals(trainer: L.Trainer) -> dict[str, float]:
    """What reals would get in place of fakes, by the name of the metric."""
    last = next((callback.last for callback in trainer.callbacks if isinstance(callback, Scores)), None)
    scores = last["scores"] if last else {}
    return {f"metrics/{name}": scored["reals"] for name, scored in scores.items() if scored["reals"] is not None}


def draw_curves(rows: list[Row], reals: dict[str, float] | None = None) -> bytes:
    """A PNG with one panel for D's losses, one for G's, and one for each metric, dashed what reals would get."""
    names = list(dict.fromkeys(name for row in rows for name in row if "_std" not in name))
    panels = {player: sorted(n for n in names if n.startswith(f"{player}/")) for player in ("d", "g")}
    panels |= {n: [n] for n in names if n.startswith("metrics/")}
    panels |= {n: [n] for n in HEALTH if n in names}
    panels = {title: series for title, series in panels.items() if series}
    columns = min(max(len(panels), 1), 3)
    rows_of_panels = -(-len(panels) // columns)
    width, height = 4.5 * columns, 3.2 * rows_of_panels
    figure = new_figure(width, height, layout=None)  # matplotlib's own layout takes a second for twenty panels
    figure.subplots_adjust(left=0.65 / width, right=1 - 0.15 / width, bottom=0.45 / height, top=1 - 0.3 / height,
                           wspace=0.2, hspace=0.32)
    for i, (title, series) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows_of_panels, columns, i)
        for name in series:
            points = [(row["kimg"], row[name]) for row in rows if name in row]
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1.2, marker="." if len(points) < 30 else None)
        if reals and title in reals:
            axes.axhline(reals[title], linestyle="--", color="0.5", linewidth=1)
        values = [value for name in series for row in rows if (value := row.get(name)) is not None]
        if title.startswith("metrics/") and min(values) > 0 and max(values) > WIDE * values[-1]:
            axes.set_yscale("log")
        axes.set(xlabel="kimg", title=TITLES.get(title, title.removeprefix("metrics/")))
        axes.grid(alpha=0.3)
        if len(series) > 1:
            axes.legend(fontsize="small")
    return figure_png(figure)
