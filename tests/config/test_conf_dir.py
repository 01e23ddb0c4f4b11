"""Where conf/ is found: in an installed package, else beside it."""

import shutil
import subprocess
import sys
from pathlib import Path

import gan_lightning.config

PACKAGE = Path(gan_lightning.config.__file__).parents[1]


def found(folder: Path) -> str:
    program = "import gan_lightning.config as c\ntry: print(c.conf_dir())\nexcept Exception as e: print(e)"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_conf_dir(tmp_path):
    for file in ("__init__.py", "errors.py", "config/__init__.py"):
        copy = tmp_path / "gan_lightning" / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / file, copy)
    assert found(tmp_path).startswith("no config.yaml in ")
    for place in (tmp_path / "conf", tmp_path / "gan_lightning" / "conf"):  # the later one is preferred
        place.mkdir()
        (place / "config.yaml").touch()
        assert found(tmp_path) == str(place)
