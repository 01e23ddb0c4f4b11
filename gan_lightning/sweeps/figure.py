"""sweep.png: the score over each swept setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gan_lightning.pictures import figure_png, new_figure
from gan_lightning.sweeps.files import write_bytes
from gan_lightning.sweeps.space import Parameter, Range
from gan_lightning.sweeps.table import Row, name_of, ranked

WIDE = 5.0  # scores that spread by this factor are drawn on a logarithmic axis
COLUMNS = 3
WHOLE = {"s": 26, "color": "tab:blue", "alpha": 0.75, "linewidths": 0}
CUT_SHORT = {"s": 26, "facecolors": "none", "edgecolors": "tab:orange", "linewidths": 1.2}
BEST = {"s": 150, "marker": "*", "color": "tab:red", "edgecolors": "white", "linewidths": 0.8, "zorder": 4}
FAILED = {"s": 28, "marker": "x", "color": "0.35", "linewidths": 1.2, "clip_on": False, "zorder": 3}
LABELS = {"whole": "whole run", "short": "pruned or stopped", "failed": "failed, no score", "best": "best"}


def draw(path: Path, rows: Sequence[Row], swept: Mapping[str, Parameter]) -> None:
    """Writes a PNG with one panel per setting: best scores of jobs over its values, dashed what reals would get.

    Lists are drawn as columns with their median, ranges on an axis, and for a search the course of it comes first.
    """
    keys = [key for key in swept if len({row.swept.get(key) for row in rows}) > 1]
    searched = any(isinstance(parameter, Range) for parameter in swept.values())
    panels: list[str | None] = [*([None] if searched else []), *keys] or [None]
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(3.3 * columns + 0.7, 2.7 * lines + 0.5)
    best = ranked(rows)[0]
    first = None
    for i, key in enumerate(panels):
        axes = figure.add_subplot(lines, columns, i + 1, sharey=first)
        first = first or axes
        x = _numbers(axes, rows) if key is None else _values(axes, rows, key, swept[key])
        _points(axes, rows, x, best)
        _score_axis(axes, rows, best, labelled=i % columns == 0)
        if key is None:
            _course(axes, rows)
    used = {label: handle for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(used.values(), used.keys(), loc="outside lower center", ncols=7, fontsize="small", frameon=False)
    write_bytes(path, figure_png(figure))


def _points(axes: Any, rows: Sequence[Row], x: Mapping[int, float], best: Row) -> None:
    kinds: dict[str, list[Row]] = {"whole": [], "short": [], "failed": [], "best": [best]}
    for row in rows:
        if row.outcome.state == "failed" and not row.scored:
            kinds["failed"].append(row)
        elif row.scored and row is not best:
            kinds["whole" if row.outcome.state == "finished" else "short"].append(row)
    styles = {"whole": WHOLE, "short": CUT_SHORT, "failed": FAILED, "best": BEST}
    for kind, members in kinds.items():
        members = [row for row in members if row.number in x]
        if not members:
            continue
        at_top = kind == "failed"
        y = [1.0 if at_top else row.outcome.best for row in members]
        where = {"transform": axes.get_xaxis_transform()} if at_top else {}
        axes.scatter([x[row.number] for row in members], y, label=LABELS[kind], **styles[kind], **where)


def _score_axis(axes: Any, rows: Sequence[Row], best: Row, labelled: bool) -> None:
    scores = [row.outcome.best for row in rows if row.scored]
    if min(scores) > 0 and max(scores) > WIDE * min(scores):
        _logarithmic(axes, "y")
    spread = max(scores) - min(scores)
    if best.outcome.reals is not None and min(scores) - spread < best.outcome.reals < max(scores) + spread:
        axes.axhline(best.outcome.reals, linestyle="--", color="0.5", linewidth=1, label="reals")
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize="small", labelleft=labelled)
    if labelled:
        better = {True: "higher", False: "lower", None: "which"}[best.outcome.higher_is_better]
        axes.set_ylabel(f"{best.outcome.score} ({better} is better)", fontsize="small")


def _numbers(axes: Any, rows: Sequence[Row]) -> dict[int, float]:
    axes.set_title("job", fontsize="medium", pad=8)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return {row.number: row.number for row in rows}


def _course(axes: Any, rows: Sequence[Row]) -> None:
    """The best score so far."""
    so_far = [(row.number, ranked([other for other in rows if other.number <= row.number])) for row in rows]
    points = [(number, best[0].outcome.best) for number, best in so_far if best]
    axes.step(*zip(*points, strict=True), where="post", color="tab:red", linewidth=1, alpha=0.6, zorder=1,
              label="best so far")


def _values(axes: Any, rows: Sequence[Row], key: str, parameter: Parameter) -> dict[int, float]:
    """The place of each job on the axis of a setting."""
    axes.set_title(name_of(key), fontsize="medium", pad=8)
    given = {row.number: row.swept[key] for row in rows if key in row.swept}
    if isinstance(parameter, Range):
        if parameter.log or (parameter.low > 0 and parameter.high >= 30 * parameter.low):
            _logarithmic(axes, "x")
        return {number: float(value) for number, value in given.items()}
    places = {value: i for i, value in enumerate(_in_order(set(given.values()), parameter))}
    axes.set_xticks(list(places.values()), [_shortened(value) for value in places], fontsize="small",
                    rotation=20 if max(map(len, places)) * len(places) > 40 else 0)
    axes.set_xlim(-0.6, len(places) - 0.4)
    for value, place in places.items():
        scores = [row.outcome.best for row in rows if row.swept.get(key) == value and row.scored]
        if scores:
            axes.plot([place - 0.3, place + 0.3], [median(scores)] * 2, color="0.2", linewidth=1.5, zorder=2,
                      label="median")
    return {number: place for value in places for number, place in _side_by_side(given, value, places[value])}


def _side_by_side(given: Mapping[int, str], value: str, place: float) -> list[tuple[int, float]]:
    """The jobs with this value, in order, across its column: equal scores stay apart."""
    numbers = [number for number, other in given.items() if other == value]
    step = 0.44 / max(len(numbers) - 1, 4)
    return [(number, place + (i - (len(numbers) - 1) / 2) * step) for i, number in enumerate(numbers)]


def _logarithmic(axes: Any, which: str) -> None:
    """Numbers as people write them, some between the powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _in_order(values: set[str], parameter: Parameter) -> list[str]:
    try:
        return sorted(values, key=float)
    except ValueError:
        return [value for value in parameter.corners if value in values] + sorted(values - set(parameter.corners))


def _shortened(value: str) -> str:
    return value if len(value) <= 18 else f"{value[:8]}...{value[-7:]}"
