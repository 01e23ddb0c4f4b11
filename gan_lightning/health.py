"""What can be told of a run's health from D's logits and two handfuls of samples, and when it is time to say so.

Numbers in, words out: neither networks nor the Trainer are known here.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Look(NamedTuple):
    """What one look at a run found; NaN where that means nothing for this loss or these data.

    `steps`: rounds played. `progress`: of the run, 0 to 1. `accuracy`: D's, 0.5 is guessing. `gap`: mean logit of
    reals less that of fakes. `diversity`: mean distance between fakes, reals' being 1. `distance`: of fakes from reals,
    by `energy_distance`.
    """

    steps: int
    progress: float
    accuracy: float
    gap: float
    diversity: float
    distance: float


class Health:
    """Says what is wrong with a run, each thing once: feed it every look, in order.

    "diverged": D's logits have left all bounds. "collapse": fakes have become alike, or have stayed so from the start.
    "won": D is right about everything. The last two are said after several such looks in a row, and never while things
    get better: a good run, too, begins with a D that is right and fakes that differ little.

    Args:
        collapse_below: diversity that counts as collapse; fakes have differed once they reached twice that.
        won_above: accuracy that counts as always right.
        patience: looks in a row that must agree.
        settle: the share of the run before which fakes that never differed are no cause for alarm.
        settle_steps: the round before which nothing is, except what diverges or was better once.
        near: distance at which fakes count as near the reals: a D that knows them apart has then not won.
        nearer: fakes come nearer if their distance is below this share of what it was at the first of these looks; they
            come to differ more if their diversity at the first look is below this share of what it is now.
        largest_gap: between logits, beyond which a run has diverged.
    """

    def __init__(self, collapse_below: float = 0.2, won_above: float = 0.99, patience: int = 4, settle: float = 0.1,
                 settle_steps: int = 500, near: float = 0.1, nearer: float = 0.95, largest_gap: float = 1e5):
        self.collapse_below, self.won_above, self.patience = collapse_below, won_above, patience
        self.settle, self.settle_steps = settle, settle_steps
        self.near, self.nearer, self.largest_gap = near, nearer, largest_gap
        self.was_diverse = False
        self.told: list[str] = []
        self.recent: list[Look] = []

    def forget(self) -> None:
        """Forgets the last looks and what was said of them: the run went back to where all was well."""
        self.told, self.recent = [], []

    def judge(self, look: Look) -> dict[str, str]:
        """What is wrong now and has not been told before: kind -> words."""
        self.was_diverse |= look.diversity >= 2 * self.collapse_below
        self.recent = [*self.recent, look][-self.patience:]
        new = {kind: self._words(kind) for kind in self._wrong() if kind not in self.told}
        self.told += new
        return new

    @property
    def well(self) -> bool:
        """Whether the last look found nothing that could become an alarm."""
        return bool(self.recent) and not (self._diverged(self.recent[-1]) or self._symptoms(self.recent[-1:]))

    def _wrong(self) -> list[str]:
        if self._diverged(self.recent[-1]):
            return ["diverged"]  # nothing else can be told of such a run
        return self._symptoms(self.recent) if len(self.recent) == self.patience else []

    def _symptoms(self, looks: list[Look]) -> list[str]:
        """What is true at all `looks` and getting no better."""
        first, last = self.recent[0], self.recent[-1]
        if last.distance < self.nearer * first.distance:
            return []
        more_diverse = first.diversity < self.nearer * last.diversity
        found = {"collapse": not more_diverse and all(map(self._alike, looks)), "won": all(map(self._beaten, looks))}
        return [kind for kind, holds in found.items() if holds]

    def _diverged(self, look: Look) -> bool:
        return abs(look.gap) > self.largest_gap

    def _alike(self, look: Look) -> bool:
        return look.diversity < self.collapse_below and (self.was_diverse or self._settled(look))

    def _beaten(self, look: Look) -> bool:
        return look.steps >= self.settle_steps and look.accuracy >= self.won_above and look.distance > self.near

    def _settled(self, look: Look) -> bool:
        return look.steps >= self.settle_steps and look.progress >= self.settle

    def _words(self, kind: str) -> str:
        look = self.recent[-1]
        return {
            "diverged": f"diverged: the logits of reals and fakes are {abs(look.gap):.1e} apart",
            "collapse": f"collapse: fakes differ from each other {look.diversity:.2g} times as much as reals do",
            "won": f"discriminator has won: it told reals from fakes at {self.patience} looks in a row, "
                   "and the fakes come no nearer to the reals",
        }[kind]

    def state_dict(self) -> dict[str, Any]:
        return {"told": self.told, "was_diverse": self.was_diverse, "recent": [list(look) for look in self.recent]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.told, self.was_diverse = list(state["told"]), state["was_diverse"]
        self.recent = [Look(*numbers) for numbers in state["recent"]][-self.patience:]


def share_of_pairs(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """How often a real scores above a fake, over all pairs, ties counting half: the area under D's ROC curve."""
    real, fake = real_logits.flatten().float().sort().values, fake_logits.flatten().float()
    not_above = torch.searchsorted(real, fake, right=True) + torch.searchsorted(real, fake)
    return 1 - not_above.float().mean() / (2 * len(real))


def mean_distance(x: Tensor, label: Tensor | None = None) -> Tensor:
    """Mean Euclidean distance between different rows of x (n, *), float64; with labels, of those of the same label.

    Labels are left out of account where fewer than n pairs share one.
    """
    distances = _distances(x, x)
    pairs = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    if label is not None:
        same = pairs & (label[:, None] == label)
        pairs = same if same.sum() >= 2 * len(x) else pairs
    return distances[pairs].mean()


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'|, in units of the last (Székely & Rizzo 2013); unbiased: 0 if x ~ y."""
    among = mean_distance(y)
    return (2 * _distances(x, y).mean() - mean_distance(x) - among) / among


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x.flatten(1).double(), y.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist")
