"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from gan_lightning.config import resolvers, schema

CONF = Path(__file__).parent.parent / "conf"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory) -> None:
    """What tests find out about reals stays out of the user's cache; programs that tests start inherit this."""
    os.environ["GAN_LIGHTNING_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def float64():
    """Networks and numbers of a test are of double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def config():
    """`config("model=mlp", "max_kimg=1")`: the configuration of `train.py` with these overrides."""

    def composed(*overrides: str) -> DictConfig:
        resolvers.register()
        schema.register()
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", ["logger=none", *overrides])

    return composed


@pytest.fixture
def train(config, tmp_path):
    """`train("model=mlp")`: trains in a fresh run directory without pictures; returns the module."""

    def trained(*overrides: str, run_dir: Path | None = None):
        from gan_lightning import training

        seen = {}
        build_module = training.build_module
        training.build_module = lambda cfg: seen.setdefault("module", build_module(cfg))
        try:
            cfg = config("callbacks=none", "metrics=none", "data.batch_size=16", *overrides)
            training.train(cfg, run_dir or tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        finally:
            training.build_module = build_module
        return seen["module"]

    return trained
