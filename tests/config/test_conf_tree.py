"""Every choice that conf/ offers passes the check, with the other groups as they are by default."""

import hydra
import pytest

from gan_lightning.config import conf_dir, schema
from gan_lightning.config.check import check
from gan_lightning.errors import ConfigError

NEEDS_MORE = {"data=folder": "data.root is required: data.root=PATH",
              "data=webdataset": "data.root is required: data.root=PATH",
              "data=huggingface": "data.path is required: data.path=PATH"}


def choices() -> list[str]:
    files = sorted(path.relative_to(conf_dir()).with_suffix("") for path in conf_dir().rglob("*/*.yaml"))
    options = [(file.parent.as_posix(), file.name) for file in files]
    return [_override(group, name) for group, name in options]


def _override(group: str, name: str) -> str:
    if group in ("term", "score"):
        return f"{group}=[{name}]"
    package = {"optim/common": "@optim", "metrics/common": "@metrics"}.get(group, "")
    return f"{group}{package}={name}"


def compose(config_name: str, *overrides: str):
    schema.register()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(config_name, list(overrides))


@pytest.mark.parametrize("choice", choices())
def test_choice(choice):
    cfg = compose("config", choice)
    if choice in NEEDS_MORE:
        with pytest.raises(ConfigError, match=NEEDS_MORE[choice]):
            check(cfg)
    else:
        check(cfg)


def test_sample():
    check(compose("sample", "ckpt=some_run"))
    with pytest.raises(ConfigError, match="^ckpt is required: ckpt=PATH$"):
        check(compose("sample"))
