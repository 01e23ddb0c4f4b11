"""Shared by the tests of metrics."""

import importlib.util
import socket
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_network(monkeypatch):
    """A proxy that nobody runs stands for a network that is not there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.fixture(scope="session")
def toys():
    """The module `toys.py` beside this file."""
    spec = importlib.util.spec_from_file_location("metric_toys", Path(__file__).with_name("toys.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["metric_toys"] = module
    spec.loader.exec_module(module)
    return module
