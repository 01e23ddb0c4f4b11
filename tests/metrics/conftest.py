"""Shared by the tests of metrics."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def toys():
    """The module `toys.py` beside this file."""
    spec = importlib.util.spec_from_file_location("metric_toys", Path(__file__).with_name("toys.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["metric_toys"] = module
    spec.loader.exec_module(module)
    return module
