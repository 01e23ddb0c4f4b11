"""Whether a composed config can be built: every key, value and class in it, before torch is imported.

The schema of a node is the signature of its `_target_`, read from source, so a class of a user's own is
checked like ours. Raises ConfigError with one line for the first fault.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from gan_lightning.config import resolvers  # noqa: F401  # a config cannot be read without them
from gan_lightning.config.annotation import plain, problem, takes_dict_of_objects, takes_plain_dict
from gan_lightning.config.knobs import check_knobs
from gan_lightning.config.modules import Absent
from gan_lightning.config.refused import refuse_values
from gan_lightning.config.signature import Parameter, Signature, signature
from gan_lightning.config.suggest import SPECIAL, did_you_mean, did_you_mean_setting, paths_of
from gan_lightning.errors import ConfigError, UserError

# What a mapping must be. An object has a `_target_`; a map of objects has them as values, or null;
# the networks are the objects of `model`, beside the numbers that they share; a free one is plain data.
OBJECT, OBJECTS, NETWORKS, FREE = "object", "map of objects", "networks", "free"
GROUPS = {
    "data": OBJECT, "loss": OBJECT, "task": OBJECT, "optim": OBJECT, "trainer": OBJECT, "metrics": OBJECT,
    "augment": OBJECT,
    "model": NETWORKS, "callbacks": OBJECTS, "logger": OBJECTS,
}  # fmt: skip
BUILT_WITH_MORE = {"task"}  # nodes that get further arguments, such as the networks, when they are built


def check(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Raises ConfigError for the first thing in `cfg` that is wrong, naming the setting.

    Args:
        cfg: the composed config, without its `hydra` node.
        overrides: those of the command line; a `+` of them adds a setting that nothing may read.
    """
    refuse_values(cfg)
    _check_top_level(cfg)
    if not _switched_off(cfg.get("augment"), overrides):
        _check_mapping(cfg, "", FREE)
    else:
        _check_mapping(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "augment"]), "", FREE)
    check_knobs(cfg, overrides)
    _check_values(cfg, "", cfg)  # last, as an interpolation may look at the data


def _switched_off(augment: DictConfig | None, overrides: Sequence[str]) -> bool:
    """Whether `augment` holds no more than an experiment's settings of what augment=none has taken away."""
    if augment is None or "_target_" in augment:
        return False
    return not any(override.lstrip("+~").startswith("augment.") for override in overrides)


def check_node(cfg: DictConfig, path: str) -> None:
    """The same for one node with a `_target_`, such as `hydra.sweeper`, which `cfg` has at `path`."""
    node = OmegaConf.select(cfg, path)
    _check_mapping(node, path, OBJECT)
    _check_values(node, path, cfg)


def unknown_setting(path: str, known: Sequence[str], allowed: str = "") -> ConfigError:
    hint = did_you_mean_setting(path, known)
    return ConfigError(f"no setting {path!r}{hint or allowed}")


def settings_of(cfg: DictConfig) -> list[str]:
    """Every dotted path that an override may set: those of the config and what its classes take."""
    paths = paths_of(cfg)
    for path, node in _nodes(cfg, ""):
        try:
            known = signature(str(node._target_))
        except Absent:
            continue
        paths += [f"{path}.{name}" for name in (known.parameters if known else ())]
    return list(dict.fromkeys(paths))


def _nodes(cfg: DictConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    if "_target_" in cfg:
        yield path, cfg
    for key, value in _written(cfg):
        if isinstance(value, DictConfig):
            yield from _nodes(value, _join(path, key))


def _check_top_level(cfg: DictConfig) -> None:
    schema = OmegaConf.get_type(cfg)
    fields = list(getattr(schema, "__dataclass_fields__", cfg))
    for key in cfg:
        if key not in fields:
            raise unknown_setting(str(key), fields, f": there are {', '.join(fields)}")


def _check_mapping(cfg: DictConfig, path: str, rule: str) -> None:
    """Keys, without their values: nothing is resolved here."""
    known = None
    if "_target_" in cfg:
        known = _signature(cfg, path)
        _check_keys(cfg, path, known)
    elif rule == OBJECT:
        raise ConfigError(f"{path} has no _target_: it must name the class to build, or be null")
    for key in cfg:
        if OmegaConf.is_missing(cfg, key):
            raise ConfigError(f"{_join(path, key)} is required: {_join(path, key)}={_placeholder(key)}")
    for key, value in _written(cfg):
        child = _join(path, key)
        if isinstance(value, DictConfig):
            _check_mapping(value, child, _rule(path, rule, key, known))
        elif rule == OBJECTS and value is not None:
            raise ConfigError(f"{child}={_show(value)}: must be a node with a _target_, or null")
        elif isinstance(value, ListConfig):
            for i, item in enumerate(value._iter_ex(resolve=False)):
                if isinstance(item, DictConfig):
                    _check_mapping(item, f"{child}[{i}]", FREE)


def _rule(path: str, rule: str, key: str, known: Signature | None) -> str:
    if not path:
        return GROUPS.get(key, FREE)
    if rule in (OBJECTS, NETWORKS):
        return OBJECT
    parameter = known.parameters.get(key) if known else None
    if parameter is None:
        return FREE
    if not takes_plain_dict(parameter.annotation, parameter.module):
        return OBJECT
    return OBJECTS if takes_dict_of_objects(parameter.annotation, parameter.module) else FREE


def _signature(cfg: DictConfig, path: str) -> Signature | None:
    target = cfg._target_
    if not isinstance(target, str):
        raise ConfigError(f"{path}._target_={_show(target)}: must be the dotted name of a class or function")
    try:
        return signature(target)
    except Absent as absent:
        hint = did_you_mean(absent.name, absent.siblings)
        raise ConfigError(f"{path}._target_={target}: {absent}{hint}") from absent
    except SyntaxError as error:
        where = f"{error.filename}:{error.lineno}"
        raise ConfigError(f"{path}._target_={target}: {where}: {error.msg}") from error


def _check_keys(cfg: DictConfig, path: str, known: Signature | None) -> None:
    if known is None:
        return
    given = [str(key) for key in cfg if key not in SPECIAL]
    for key in given:
        if key not in known.parameters and not known.open:
            takes = f": {known.name} takes {', '.join(known.parameters) or 'no settings'}"
            own = [_join(path, name) for name in known.parameters]
            inside = [p for p in paths_of(cfg, f"{path}.") if not p.startswith(f"{path}.{key}")]
            raise unknown_setting(f"{path}.{key}", own + inside, takes)
    if cfg.get("_partial_") or "_args_" in cfg or path in BUILT_WITH_MORE:
        return
    for name, parameter in known.parameters.items():
        if parameter.required and name not in given:
            setting = _join(path, name)
            raise ConfigError(f"{setting} is required by {known.name}: {setting}={_placeholder(name)}")


def _check_values(cfg: DictConfig | ListConfig, path: str, root: DictConfig) -> None:
    """Every interpolation resolves, and every value fits the annotation of its parameter."""
    is_map = isinstance(cfg, DictConfig)
    known = signature(cfg._target_) if is_map and "_target_" in cfg else None
    for key in list(cfg) if is_map else range(len(cfg)):
        child = _join(path, key) if is_map else f"{path}[{key}]"
        if _needs_a_run(cfg, key):
            continue
        value = _value(cfg, key, child, root)
        if OmegaConf.is_config(value) and not OmegaConf.is_interpolation(cfg, key):
            _check_values(value, child, root)
        parameter = known.parameters.get(str(key)) if known else None
        if parameter is not None:
            _check_type(value, _source(root, child), parameter)


def _check_type(value: Any, path: str, parameter: Parameter) -> None:
    if OmegaConf.is_config(value):
        if HydraConfig.initialized() or "${hydra:" not in str(value):
            value = OmegaConf.to_container(value, resolve=True)
        else:
            return
    fault = problem(value, parameter)
    if fault is not None:
        raise ConfigError(f"{path}={plain(value)}: {fault}")


def _value(cfg: DictConfig | ListConfig, key: str | int, path: str, root: DictConfig) -> Any:
    try:
        return cfg[key]
    except InterpolationKeyError as error:
        name = str(error).split("'")[1]
        hint = did_you_mean_setting(name, paths_of(root))
        raise ConfigError(f"{path}: ${{{name}}} names no setting{hint}") from error
    except OmegaConfBaseException as error:
        fault = next((cause for cause in _causes(error) if isinstance(cause, UserError)), None)
        if fault is not None:
            raise type(fault)(f"{path}: {fault}") from error
        raise ConfigError(f"{path}: {str(error.msg or error).splitlines()[0]}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _source(root: DictConfig, path: str) -> str:
    """Where the value of `path` is written: `model.z_dim` for a `${model.z_dim}`."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(root, parent) if parent else root
    if isinstance(node, DictConfig) and OmegaConf.is_interpolation(node, key):
        reference = re.fullmatch(r"\$\{([\w.]+)\}", str(OmegaConf.to_container(node, resolve=False)[key]))
        return _source(root, reference[1]) if reference and not reference[1].startswith(".") else path
    return path


def _needs_a_run(cfg: DictConfig | ListConfig, key: str | int) -> bool:
    """`${hydra:...}` has a value only inside of a Hydra run."""
    if HydraConfig.initialized() or not OmegaConf.is_interpolation(cfg, key):
        return False
    return "${hydra:" in str(OmegaConf.to_container(cfg, resolve=False)[key])


def _written(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Keys and values that stand there themselves: no interpolations, nothing missing."""
    for key in cfg:
        if not OmegaConf.is_interpolation(cfg, key) and not OmegaConf.is_missing(cfg, key):
            yield str(key), cfg[key]


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _show(value: Any) -> str:
    return plain(OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value)


def _placeholder(name: str) -> str:
    return "PATH" if name in ("root", "path", "ckpt", "folder") else "VALUE"
