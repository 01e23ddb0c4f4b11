"""Where an Optuna study is kept, so that it survives a kill and several machines share it."""

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from gan_lightning.errors import ConfigError, UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL, SQLITE = "journal:///", "sqlite:///"
SETTING = "hydra.sweeper.storage"


def need_optuna() -> None:
    """Raises UserError if Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UserError("a search needs Optuna: pip install 'gan_lightning[sweep]'")


def normalised(url: str | None, folder: Path) -> str:
    """The same storage, named so that every process finds it; `folder`: of the sweep.

    `journal:///x.log` and `sqlite:///x.db` are relative to the present directory, with a fourth slash absolute.

    Raises:
        ConfigError: none of the kinds that there are.
    """
    if url is None:
        return f"{JOURNAL}{folder / 'study.log'}"
    for kind in (JOURNAL, SQLITE):
        if url.startswith(kind):
            if len(url) == len(kind):
                raise ConfigError(f"{SETTING}={url}: names no file; write {kind}FILE")
            return f"{kind}{Path(url.removeprefix(kind)).expanduser().absolute()}"
    if "://" not in url or url.startswith(("journal:", "sqlite:")):
        raise ConfigError(f"{SETTING}={url}: must be journal:///FILE, sqlite:///FILE, or the URL of a database such as "
                          "postgresql://HOST/NAME")
    return url


def open_storage(url: str) -> "BaseStorage":
    """The storage of a normalised URL; a journal and an SQLite file are made if they are not there.

    Raises:
        UserError: it cannot be opened.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        for kind in (JOURNAL, SQLITE):
            if url.startswith(kind):
                Path(url.removeprefix(kind)).parent.mkdir(parents=True, exist_ok=True)
        if url.startswith(JOURNAL):
            return optuna.storages.JournalStorage(JournalFileBackend(url.removeprefix(JOURNAL)))
        engine = {"connect_args": {"timeout": 60}} if url.startswith(SQLITE) else {"pool_pre_ping": True}
        return optuna.storages.RDBStorage(url, engine_kwargs=engine)
    except Exception as error:  # whatever a driver raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{SETTING}={url}: cannot be opened: {reason}") from error
