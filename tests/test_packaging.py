"""From a built wheel, in another directory, with configs and classes of one's own."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
QUICK = ["model=mlp", "max_kimg=0.064", "data.batch_size=16"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The unpacked wheel, as it would lie in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
                   check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def run(folder, installed, *arguments, command="train"):
    program = f"import sys; sys.argv[0] = 'gan-{command}'; from gan_lightning.cli import {command}; {command}()"
    return subprocess.run([sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(installed)}, timeout=200)


@pytest.mark.slow
def test_wheel_works_anywhere(installed, tmp_path):
    assert (installed / "gan_lightning" / "conf" / "config.yaml").exists()
    assert (installed / "gan_lightning" / "py.typed").exists()
    done = run(tmp_path, installed, *QUICK)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "summary.json").exists()
    done = run(tmp_path, installed, f"ckpt={folder}", "n=4", command="sample")
    assert done.returncode == 0 and (tmp_path / "samples.png").exists(), done.stderr


MINE = '''
from gan_lightning.losses.adversarial import Wasserstein
class Scaled(Wasserstein):
    """A loss of one's own."""
    def __init__(self, scale: float = 1.0):
        self.scale = scale
    def d_loss(self, real_logits, fake_logits):
        print("MINE", self.scale)
        return self.scale * super().d_loss(real_logits, fake_logits)
'''
MINE_YAML = """
defaults: [hinge, _self_]
adversarial: {_target_: my_losses.Scaled, scale: 3.0}
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--config-dir", "hydra.searchpath"])
def test_a_loss_of_ones_own(installed, tmp_path, how):
    (tmp_path / "my_losses.py").write_text(MINE)
    (tmp_path / "my_conf" / "loss").mkdir(parents=True)
    (tmp_path / "my_conf" / "loss" / "mine.yaml").write_text(MINE_YAML)
    found = ["--config-dir", "my_conf"] if how == "--config-dir" else [f"hydra.searchpath=[file://{tmp_path}/my_conf]"]
    done = run(tmp_path, installed, *found, "loss=mine", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "MINE 3.0" in done.stdout
    bad = run(tmp_path, installed, *found, "loss=mine", "loss.adversarial.scal=2", *QUICK)
    assert bad.returncode == 2 and "did you mean 'loss.adversarial.scale'" in bad.stderr
