"""What a tree of YAML files offers, asked after an error to say what was probably meant."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from gan_lightning.config.check import settings_of
from gan_lightning.config.suggest import paths_of

VERSION_BASE = "1.3"


class Tree:
    """The config `config_name` in `folder`, found with the `hydra.searchpath=...` of the command line."""

    def __init__(self, folder: str | Path, config_name: str, searchpath: Sequence[str] = ()):
        self.folder, self.config_name, self.searchpath = str(folder), config_name, list(searchpath)
        self.settings = lru_cache(self._settings)

    def _settings(self, overrides: tuple[str, ...], of_hydra: bool = False) -> list[str]:
        """Groups, and the paths that can be set under these overrides; or those of Hydra itself, such as
        `hydra.launcher.n_jobs`. Errors: all that Hydra raises."""
        with hydra.initialize_config_dir(self.folder, version_base=VERSION_BASE):
            cfg = hydra.compose(self.config_name, [*overrides, *self.searchpath], return_hydra_config=of_hydra)
        return paths_of(cfg.hydra, "hydra.") if of_hydra else [*self.groups, *settings_of(cfg)]

    @cached_property
    def groups(self) -> list[str]:
        with hydra.initialize_config_dir(self.folder, version_base=VERSION_BASE):
            return self._loader().list_groups("")

    def options(self, group: str) -> list[str]:
        """What `group=` can be."""
        with hydra.initialize_config_dir(self.folder, version_base=VERSION_BASE):
            return self._loader().get_group_options(group, None, self.config_name, self.searchpath)

    @staticmethod
    def _loader() -> ConfigLoader:
        return GlobalHydra.instance().config_loader()
