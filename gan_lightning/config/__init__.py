"""The command line's settings: where `conf/` is, what it may hold, and errors that say what to change.

Nothing here imports torch or Lightning: a wrong setting must be reported at once.
"""

from pathlib import Path

from gan_lightning.errors import ConfigError


def conf_dir() -> Path:
    """The folder of the YAML files: inside the package in a wheel, beside it in a checkout.

    Errors: ConfigError if neither holds a `config.yaml`.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "conf", package.parent / "conf")
    for folder in candidates:
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"no config.yaml in {candidates[0]} or {candidates[1]}: reinstall gan_lightning")
