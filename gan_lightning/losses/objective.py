"""An objective: one adversarial loss plus the extra terms of each player's loss."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.losses.adversarial import AdversarialLoss
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.base import Term
from gan_lightning.terms.top_k import TopK


class Objective:
    """What D and G minimise, and how many D steps go with one G step.

    Args:
        adversarial: scores logits; see `gan_lightning.losses.adversarial`.
        d_terms, g_terms: name -> term. Each is added to that player's loss as `weight * term(step)` and
            logged under its name; `null` switches one off.
        d_constraints: name -> callable applied to D after each of its steps, such as weight clipping.
        n_critic: D steps per G step.
        g_adversarial: what G's adversarial loss is multiplied by; 0 leaves G its terms alone, as the paper of feature
            matching does (Salimans et al. 2016, arXiv:1606.03498, sec. 3.1).
        g_selects: which fakes G's adversarial loss is taken of; null is all. Its terms are always of all.
        trains_with: what the loss's paper trains with (`lr`, `betas`, `critic_norm`). The configs of
            optimizers and models read it from here by interpolation; an objective does nothing with it.
    """

    def __init__(
        self,
        adversarial: AdversarialLoss,
        d_terms: dict[str, Term | None] | None = None,
        g_terms: dict[str, Term | None] | None = None,
        d_constraints: dict[str, Callable[[nn.Module], None] | None] | None = None,
        n_critic: int = 1,
        trains_with: dict | None = None,
        g_selects: TopK | None = None,
        g_adversarial: float = 1.0,
    ):
        if n_critic < 1:
            raise ConfigError(f"loss.n_critic={n_critic}: must be at least 1")
        if g_selects is not None and adversarial.uses_real_in_g:
            raise ConfigError(f"loss.g_selects: {type(adversarial).__name__} compares fakes with reals in G's loss, "
                              "and the best fakes have no reals; choose another loss, or leave term=[top_k] out")
        self.adversarial, self.n_critic, self.trains_with = adversarial, n_critic, trains_with or {}
        self.g_adversarial = g_adversarial
        self.d_terms, self.g_terms = _active(d_terms), _active(g_terms)
        self.d_constraints, self.g_selects = _active(d_constraints), g_selects
        if g_adversarial < 0 or (g_adversarial == 0 and not self.g_terms):
            raise ConfigError(f"loss.g_adversarial={g_adversarial}: must be above 0, or 0 with a term for G to learn "
                              "from, such as term=[feature_matching]")
        for player, terms in (("d", self.d_terms), ("g", self.g_terms)):
            for name, term in terms.items():
                if term.every < 1:
                    raise ConfigError(f"loss.{player}_terms.{name}.every={term.every}: must be at least 1")
                if player not in getattr(term, "players", (player,)):
                    raise ConfigError(f"loss.{player}_terms.{name}: {type(term).__name__} is a term of the other "
                                      f"player's loss: loss.{term.players[0]}_terms.{name}")

    def d_loss(self, step: Step) -> dict[str, Tensor]:
        _same_shape(step.real_logits, step.fake_logits)
        adversarial = self.adversarial.d_loss(
            at_least_float32(step.real_logits), at_least_float32(step.fake_logits)
        )
        return {"adv": adversarial} | _weighted(self.d_terms, step)

    def g_loss(self, step: Step) -> dict[str, Tensor]:
        real_logits, fake_logits = step.real_logits, at_least_float32(step.fake_logits)
        if self.g_selects is not None:
            real_logits, fake_logits = None, self.g_selects(fake_logits, step.clock.nimg)
        elif real_logits is not None:
            _same_shape(real_logits, fake_logits)
            real_logits = at_least_float32(real_logits)
        adversarial = self.adversarial.g_loss(fake_logits, real_logits)
        if self.g_adversarial != 1:
            adversarial = self.g_adversarial * adversarial
        return {"adv": adversarial} | _weighted(self.g_terms, step)

    def constrain_d(self, d: nn.Module) -> None:
        for constraint in self.d_constraints.values():
            constraint(d)


def due(terms: Mapping[str, Term], clock: Clock) -> dict[str, Term]:
    """The terms that this step computes: a lazy one runs every k-th step of its player."""
    return {name: term for name, term in terms.items() if clock.step % term.every == 0}


def _weighted(terms: Mapping[str, Term], step: Step) -> dict[str, Tensor]:
    # k times as strong every k-th step leaves the mean gradient as it is (Karras et al. 2020, app. B).
    return {
        name: term.strength(step) * term.every * term(step)
        for name, term in due(terms, step.clock).items()
    }


def _active(parts: Mapping | None) -> dict:
    return {name: part for name, part in (parts or {}).items() if part is not None}


def _same_shape(real_logits: Tensor, fake_logits: Tensor) -> None:
    # (N, 1) - (N,) would silently broadcast to (N, N) in a relativistic loss.
    if real_logits.shape != fake_logits.shape:
        raise ValueError(
            f"D scored reals as {tuple(real_logits.shape)} and fakes as {tuple(fake_logits.shape)}; "
            "both must have the same shape"
        )
