"""What happened so far: the losses of every step, folded into one row each time somebody looks."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from gan_lightning.errors import TrainingDiverged

Row = dict[str, float]


class Journal:
    """Collects losses without waiting for the device, and keeps the rows that loggers and curves show.

    `add` stores references; `fold` reads them all at once. A loss that is not finite is found there, with the
    step and the term it first appeared in, and before anything is written that contains its consequences.
    """

    limit = 1024
    """Steps held before they must be read: half a kilobyte for each loss on a GPU."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._seconds, self._started = 0.0, None
        self._entries: list[tuple[int, str, dict[str, Tensor]]] = []
        self._sums: dict[str, list[float]] = {}
        self._steps = {"d": 0, "g": 0}

    def start_clock(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent training, those before a resume included."""
        return self._seconds + (time.monotonic() - self._started if self._started is not None else 0.0)

    def add(self, player: str, step: int, losses: dict[str, Tensor]) -> None:
        """Notes the summands of `player`'s loss in generator step `step`."""
        self._entries.append((step, player, {name: loss.detach() for name, loss in losses.items()}))

    @property
    def full(self) -> bool:
        return len(self._entries) >= self.limit

    def latest(self) -> Row:
        """The newest value of each loss, for a glance."""
        newest = {player: losses for _, player, losses in self._entries[-16:]}
        return {f"{player}/{name}": float(loss) for player, losses in newest.items() for name, loss in losses.items()}

    def check(self, average: Callable[[Tensor], Tensor] = lambda values: values) -> None:
        """Reads what was added since the last time. `average`: over all devices.

        Raises:
            TrainingDiverged: a loss is NaN or infinite, on any device.
        """
        if not self._entries:
            return
        for _, player, _ in self._entries:
            self._steps[player] += 1
        entries = [(step, f"{player}/{name}", loss) for step, player, losses in self._entries
                   for name, loss in losses.items()]
        self._entries = []
        values = average(torch.stack([loss.float() for *_, loss in entries])).tolist()
        for (step, name, _), value in zip(entries, values, strict=True):
            if value - value != 0:  # NaN or infinite
                raise TrainingDiverged(f"{name} became {value} in generator step {step}")
            total = self._sums.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def fold(self, average: Callable[[Tensor], Tensor] = lambda values: values) -> Row:
        """Means since the last fold: each summand over the steps that computed it, each player's loss over all."""
        self.check(average)
        row = {name: total / count for name, (total, count) in self._sums.items()}
        for player, steps in self._steps.items():
            parts = [total for name, (total, _) in self._sums.items() if name.startswith(f"{player}/")]
            if parts:
                row[f"{player}/loss"] = sum(parts) / steps
        self._sums, self._steps = {}, {"d": 0, "g": 0}
        return row

    def state_dict(self) -> dict:
        return {"rows": self.rows, "seconds": self.seconds, "sums": self._sums, "steps": self._steps}

    def load_state_dict(self, state: dict) -> None:
        self.rows, self._seconds = state["rows"], state["seconds"]
        self._sums, self._steps, self._entries = state["sums"], state["steps"], []
