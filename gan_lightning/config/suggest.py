"""'Did you mean': the known name nearest to a misspelt one."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf

SIMILAR = 0.6  # difflib's own default: half of the letters and a few more
SHOWN = 3
SPECIAL = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}  # Hydra's own keys in a node


def did_you_mean(word: str, words: Iterable[Any]) -> str:
    """` - did you mean 'this'?`, or nothing if no word is near."""
    near = get_close_matches(word, [str(w) for w in words], n=1, cutoff=SIMILAR)
    return f" - did you mean {near[0]!r}?" if near else ""


def did_you_mean_setting(path: str, paths: Iterable[str]) -> str:
    """The same for a dotted path: the last name decides, then how alike the folders are.

    So `trainer.device` finds `trainer.devices`, and `lr` finds `optim.g.lr` and `optim.d.lr`.
    """
    parent, _, name = path.rpartition(".")
    scores = {}
    for candidate in dict.fromkeys(paths):
        other_parent, _, other = candidate.rpartition(".")
        likeness = _ratio(name, other)
        if likeness >= SIMILAR and candidate != path:
            scores[candidate] = likeness + 0.5 * _ratio(parent, other_parent)
    if not scores:
        return ""
    best = max(scores.values())
    nearest = [repr(candidate) for candidate, score in scores.items() if score > best - 1e-9]
    return f" - did you mean {' or '.join(nearest[:SHOWN])}?"


def paths_of(cfg: DictConfig, prefix: str = "") -> list[str]:
    """The dotted path of every setting, without resolving anything."""
    found = []
    for key in (key for key in cfg if key not in SPECIAL):
        found.append(f"{prefix}{key}")
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            if isinstance(cfg[key], DictConfig):
                found += paths_of(cfg[key], f"{prefix}{key}.")
    return found


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
