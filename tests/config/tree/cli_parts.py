"""What the YAML files of this folder name: the classes of a small project."""

from typing import Literal

from gan_lightning.errors import ConfigError


class Data:
    def __init__(self, resolution: int = 8, root: str | None = None): ...


class Net:
    def __init__(self, z_dim: int, norm: Literal["batch", "none"] = "batch"):
        if z_dim > 100:
            raise ConfigError(f"z_dim={z_dim}: at most 100")


class Term: ...


class Penalty(Term):
    def __init__(self, weight: float = 10.0): ...


class Objective:
    def __init__(
        self,
        d_terms: dict[str, Term | None] | None = None,
        n_critic: int = 1,
        trains_with: dict | None = None,
    ): ...


class Optim:
    def __init__(self, g: object, g_clip: float | None = None, accumulate: int = 1): ...
