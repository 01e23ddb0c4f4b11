"""Errors of Hydra, OmegaConf and YAML in one line each, with what was probably meant.

The only file that knows what their messages look like.
"""

import re
from collections.abc import Sequence

from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gan_lightning.config.check import unknown_setting
from gan_lightning.config.refused import refusal
from gan_lightning.config.suggest import did_you_mean
from gan_lightning.config.tree import Tree
from gan_lightning.errors import ConfigError, UserError

WANTED = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false", "String": "a string"}
BUGS = (AttributeError, NameError, LookupError, AssertionError, RecursionError, NotImplementedError)

def explain_composing(error: Exception, overrides: Sequence[str], tree: Tree) -> ConfigError:
    """What an error before the first job comes down to. `overrides`: those of the command line."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _syntax(error)
    if isinstance(error, MissingConfigException):
        return _choice(error, tree)
    if isinstance(error, YAMLError):
        return _yaml(error)
    path = _refused_override(text)
    if path is not None:
        return _no_setting(path, overrides, tree)
    if " raised while composing config:" in text:
        return _in_file(text, overrides, tree)
    if text.startswith("Error merging override "):
        return _wrong_type(text.removeprefix("Error merging override "), error.__cause__)
    return _other(error)


def unlisted_setting(error: Exception, overrides: Sequence[str], tree: Tree) -> str | None:
    """The path of an override that Hydra refuses though its class takes it: the YAML only leaves it out."""
    path = _refused_override(str(error))
    if path is None or refusal(path) is not None:
        return None
    return path if path in _known_without(path, overrides, tree) else None


def explain_building(error: InstantiationException) -> UserError | None:
    """The same for a class that refuses its arguments; None if it looks like a bug in the class."""
    cause, text = error.__cause__, str(error)
    if isinstance(cause, BUGS):
        return None
    setting = re.search(r"^full_key: (\S+)", text, re.MULTILINE)
    message = one_line(str(cause or text.partition("\nfull_key:")[0])) or type(cause).__name__
    names_setting = re.match(r"[a-z_]\w*(\.[a-z_]\w*)+\b", message)
    if setting and not names_setting:
        message = f"{setting[1]}: {message}"
    return (type(cause) if isinstance(cause, UserError) else ConfigError)(message)


def key_of(override: str) -> str:
    """`loss.weight` of `+loss.weight=1`, `loss` of `loss@package=wgan`."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def one_line(text: str) -> str:
    return " ".join(text.split())


def _refused_override(text: str) -> str | None:
    found = re.search(r"Could not (?:override|delete)(?: from config\.)? '([^'=]+)", text)
    return found[1].partition("@")[0] if found else None


def _syntax(error: OverrideParseException) -> ConfigError:
    if "=" not in error.override:
        return ConfigError(f"{error.override!r} is not a setting: write key=value")
    reason = one_line(error.message.partition("\nSee https://")[0])
    return ConfigError(f"cannot read {error.override!r}: {reason}")


def _choice(error: MissingConfigException, tree: Tree) -> ConfigError:
    missing = error.missing_cfg_file
    listed = re.search(r"Available options in '([^']+)'", str(error))
    group = listed[1] if listed else (missing or "").rpartition("/")[0]
    if not missing or not group:
        return ConfigError(one_line(str(error).partition("Check that it's in your")[0]))
    name, options = missing.removeprefix(f"{group}/"), list(error.options or tree.options(group))
    hint = did_you_mean(name, options)
    return ConfigError(f"{group}={name}: no such choice{hint} (choices: {', '.join(options) or 'none'})")


def _yaml(error: YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}:{mark.line + 1}: " if mark else ""
    return ConfigError(f"{place}not YAML: {getattr(error, 'problem', None) or one_line(str(error))}")


def _no_setting(path: str, overrides: Sequence[str], tree: Tree, where: str = "") -> ConfigError:
    given = next((o.partition("=")[2] for o in overrides if key_of(o) == path), "")
    refused = refusal(path, given)
    if refused is not None:
        return refused
    if "/" in path:
        return ConfigError(f"no group {path!r} to choose from{where}")
    settings = _known_without(path, overrides, tree)
    parent = path.rpartition(".")[0]
    beside = [setting.rpartition(".")[2] for setting in settings if setting.rpartition(".")[0] == parent]
    error = unknown_setting(path, settings, f": {parent or 'the config'} has {', '.join(beside) or 'none yet'}")
    return ConfigError(f"{error}{where}")


def _known_without(path: str, overrides: Sequence[str], tree: Tree) -> list[str]:
    """The settings of the config without the wrong override; if others are wrong too, of fewer yet."""
    ours = [override for override in overrides if not key_of(override).startswith("hydra.")]
    others = [override for override in ours if key_of(override) != path]
    choices = [override for override in others if "." not in key_of(override)]
    for attempt in (others, choices, []):
        try:
            return tree.settings(tuple(attempt), path.startswith("hydra."))
        except (HydraException, OmegaConfBaseException, YAMLError, UserError):
            continue
    return []


def _in_file(text: str, overrides: Sequence[str], tree: Tree) -> ConfigError:
    """`In 'experiment/x': ConfigKeyError raised while composing config:\\nKey 'seeed' not in 'Config' ...`"""
    where = re.search(r"In '([^']+)'", text)
    place = f" (in {where[1]}.yaml)" if where else ""
    setting = re.search(r"full_key: (\S+)", text)
    fault = text.partition("composing config:\n")[2].partition("\n")[0]
    if setting is None:
        return ConfigError(f"{fault}{place}")
    if fault.startswith("Key "):
        others = [override for override in overrides if key_of(override) != "experiment"]
        return _no_setting(setting[1], others, tree, place)
    value = re.match(r"Value '(.*?)'", fault)
    given = f"{setting[1]}={value[1]}" if value else setting[1]
    return ConfigError(f"{given}: {_wanted(fault)}{place}")


def _wrong_type(override: str, cause: BaseException | None) -> ConfigError:
    fault = str(cause).partition("\n")[0] if cause else "cannot be set"
    return ConfigError(f"{override.lstrip('+')}: {_wanted(fault)}")


def _wanted(fault: str) -> str:
    wanted = re.search(r"could not be converted to (\w+)", fault)
    if wanted:
        return f"must be {WANTED.get(wanted[1], wanted[1])}"
    return "must be true or false" if "is not a valid bool" in fault else fault


def _other(error: Exception) -> ConfigError:
    text = str(error)
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        key, _, value = found[1].partition("=")
        return ConfigError(f"{found[1]}: one run takes one value; -m runs each, {key}=[{value}] is a list")
    if found := re.search(r"Sweep parameters '([^']+)' requires --multirun", text):
        return ConfigError(f"{found[1]}: a sweep needs -m")
    if found := re.search(r"(?:An item is already at '|Multiple values for )([\w./]+\w)", text):
        return ConfigError(f"{found[1]} is set already: write {found[1]}=VALUE")
    if found := re.search(r"config group '([^']+)' does not exist", text):
        return ConfigError(f"no group {found[1]!r} to choose from")
    cause = error.__cause__
    return ConfigError(one_line(f"{text} {cause}" if cause else text.partition("\nSee https://")[0]))
