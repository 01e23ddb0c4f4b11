"""What `${...}` can compute in the YAML files."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lightning.config.started import started
from gan_lightning.errors import ConfigError

GRADIENT_TERMS = "gan_lightning.terms.gradient."


def choose(condition: bool, yes: Any, no: Any) -> Any:
    """`${if:condition,yes,no}`."""
    if not isinstance(condition, bool):
        raise ConfigError(f"the condition of an ${{if:...}} must be true or false, got {condition!r}")
    return yes if condition else no


def divide(a: float, b: float) -> float:
    """`${divide:a,b}`."""
    return a / b


def critic_norm(default: str, *, _root_: DictConfig) -> str:
    """`${critic_norm:default}`: the normalisation in D that the loss demands, else the model's own.

    Batch normalisation mixes the samples of a batch, so a per-sample gradient penalty means nothing
    through it (Gulrajani et al. 2017, section 4).
    """
    demanded = OmegaConf.select(_root_, "loss.trains_with.critic_norm")
    if demanded is not None:
        return demanded
    terms = OmegaConf.select(_root_, "loss.d_terms") or {}
    penalised = any(
        str(term.get("_target_", "")).startswith(GRADIENT_TERMS)
        for term in terms.values()
        if isinstance(term, DictConfig)
    )
    return "none" if penalised and default == "batch" else default


def image_channels(root: str) -> int:
    """`${image_channels:folder}`: 1 or 3, as the images of the folder have."""
    from gan_lightning.data import inspect

    return inspect.image_channels(root)


def image_classes(root: str) -> int:
    """`${image_classes:folder}`: the number of classes among the images of the folder."""
    from gan_lightning.data import inspect

    return inspect.image_classes(root)


def register() -> None:
    """Makes the resolvers known to OmegaConf; calling it again changes nothing."""
    for name, function in {
        "if": choose,
        "divide": divide,
        "critic_norm": critic_norm,
        "image_channels": image_channels,
        "image_classes": image_classes,
        "started": started,
    }.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


register()
