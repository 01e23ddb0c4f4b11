"""What every term of a player's loss has in common."""

from collections.abc import Callable

from torch import Tensor

from gan_lightning.schedules import at
from gan_lightning.tasks.base import Step, Task

Weight = float | Callable[[int], float]


class Term:
    """One summand of a player's loss, besides the adversarial one. Subclasses write `__call__`.

    A term with a state of its own (a running mean, say) is an `nn.Module` as well: `class LeCam(Term, nn.Module)`, with
    `nn.Module.__init__(self)` first. Its buffers are in checkpoints, and floating ones are averaged over devices.

    Args:
        weight: a number, or a schedule of the real images seen so far (`gan_lightning.schedules`).
        every: computed every k-th step of its player, k times as strong (lazy regularisation).
    """

    players: tuple[str, ...] = ("d", "g")
    """Whose loss the term can be part of."""

    reads_gradient_at: tuple[str, ...] = ()
    """Which of `real`, `fake` this term differentiates D's logits by."""

    reads_features = False
    """Whether the term needs `step.real_features` and `step.fake_features`."""

    per_sample = False
    """Whether it assumes that D scores each sample by itself, which batch normalisation breaks."""

    allows_sharding = True
    """Whether it works where weights are shared out over devices: not if it differentiates twice, or reads them."""

    works_on_points = True
    """Whether it makes sense for points (N, 2), not images alone."""

    def __init__(self, weight: Weight = 1.0, every: int = 1):
        self.weight, self.every = weight, every

    def bind(self, task: Task) -> None:
        """Called once, when all networks are there: for buffers of their shapes. ConfigError if the term cannot work
        with them."""

    def player_in(self, task: Task) -> str:
        """Whose loss this term is part of: d or g."""
        return "d" if any(term is self for term in task.objective.d_terms.values()) else "g"

    def strength(self, step: Step) -> float:
        """What this step multiplies the term by, besides `every`."""
        return at(self.weight, step.clock.nimg)

    def __call__(self, step: Step) -> Tensor:
        """The unweighted term, a scalar."""
        raise NotImplementedError
