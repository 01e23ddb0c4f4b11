"""One launch of `play.py` for all tests that need several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def _played(request, tmp_path_factory) -> Path:
    """The folder with what became of the JOBS of all test files that are run."""
    folder = tmp_path_factory.mktemp("play")
    modules = {Path(item.module.__file__).stem: item.module for item in request.session.items}
    jobs = {f"{stem}.{name}": job for stem, module in modules.items() for name, job in getattr(module, "JOBS", {}).items()}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run([sys.executable, HERE / "play.py", folder / "jobs.json", folder],
                          env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def games(request, _played):
    """`games(name, world, rank)`: what became of the module's JOBS[name]; see `play.py`."""
    stem = Path(request.module.__file__).stem

    def result(name: str, world: int, rank: int = 0) -> dict:
        return torch.load(_played / str(world) / f"{stem}.{name}.{rank}.pt")

    result.folder = _played
    return result
