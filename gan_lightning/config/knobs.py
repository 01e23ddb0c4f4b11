"""The knobs of a model: numbers beside its networks, which interpolate them.

A knob has no signature to be checked against, so a misspelt one would be ignored in silence.
"""

import re
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_lightning.config.suggest import did_you_mean_setting
from gan_lightning.errors import ConfigError


def check_knobs(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raises ConfigError for a knob that nothing reads and that the model's own file does not have."""
    model = OmegaConf.select(cfg, "model")
    if not isinstance(model, DictConfig) or "_target_" in model:
        return
    read = set(re.findall(r"\bmodel\.(\w+)", OmegaConf.to_yaml(cfg, resolve=False)))
    unread = [key for key in model if key not in read and not isinstance(model._get_node(key), DictConfig)]
    if not unread:
        return
    added = {override.lstrip("+").partition("=")[0] for override in overrides if override.startswith("+")}
    own = _own_knobs()
    for key in unread:
        if f"model.{key}" in added or (own is not None and key not in own):
            others = [str(other) for other in model if other != key]
            hint = did_you_mean_setting(f"model.{key}", [f"model.{other}" for other in others])
            raise ConfigError(f"no setting 'model.{key}'{hint or ': model has ' + ', '.join(others)}")


def _own_knobs() -> set[str] | None:
    """What the chosen file of `conf/model` defines; None outside of a Hydra run."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return None
    choice = HydraConfig.get().runtime.choices.get("model")
    if choice is None:
        return None
    searchpath = [o for o in HydraConfig.get().overrides.hydra if "hydra.searchpath=" in o]
    loader = GlobalHydra.instance().config_loader()
    own = loader.load_configuration(f"model/{choice}", searchpath, RunMode.RUN)
    return {str(key) for key in OmegaConf.select(own, "model", default={})}
