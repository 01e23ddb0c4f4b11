"""What a config asks of a folder before anything is loaded."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from gan_lightning.data.inspect import image_channels, image_classes
from gan_lightning.errors import DataError


def save(path: Path, mode: str, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


@pytest.mark.parametrize("modes, channels", [
    (["L", "L"], 1), (["RGB"], 3), (["P"], 3), (["RGBA"], 3), (["I;16"], 1), (["1"], 1), (["LA"], 1),
    (["L", "I;16"], 1), (["L", "RGB"], 3), (["L"] * 31 + ["RGB"], 3),
])
def test_channels(tmp_path, modes, channels):
    for i, mode in enumerate(modes):
        save(tmp_path / f"{i:02}.png", mode)
    assert image_channels(str(tmp_path)) == channels


def test_channels_of_many_are_sampled_over_all_classes(tmp_path):
    for i in range(200):
        save(tmp_path / f"a/{i}.bmp", "L")
        save(tmp_path / f"b/{i}.bmp", "RGB")
    assert image_channels(str(tmp_path)) == 3


@pytest.mark.parametrize("names, classes", [
    (["1.png"], 0), (["a/1.png", "b/1.png", "c/1.png"], 3), (["train/a/1.png", "test/b/1.png"], 2),
    (["a/1.png"], 0), (["train/1.png", "test/1.png"], 0), (["set/a/1.png", "set/b/1.png"], 2),
    (["a/1.png", "b/1.png", ".c/1.png", "__MACOSX/1.png", "d/._1.png"], 2),
])
def test_classes_of_a_folder_and_of_its_zip(tmp_path, names, classes):
    root = tmp_path / "root"
    for name in names:
        save(root / name, "L")
    with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
        for name in names:
            archive.write(root / name, name)
    for place in (root, tmp_path / "root.zip"):
        assert image_classes(str(place)) == classes
        assert image_channels(str(place)) == 1


def test_an_unreadable_header_is_left_to_the_loader(tmp_path):
    (tmp_path / "0.png").write_bytes(b"x")
    with pytest.raises(DataError, match="none of 1 images could be read, e.g. 0.png"):
        image_channels(str(tmp_path))
    save(tmp_path / "good/1.png", "L")
    save(tmp_path / "good/2.png", "L")
    (tmp_path / "good/0.png").write_bytes(b"x")
    assert image_channels(str(tmp_path / "good")) == 1


@pytest.mark.parametrize("ask", [image_channels, image_classes])
def test_missing_and_empty(tmp_path, ask):
    with pytest.raises(DataError, match="does not exist"):
        ask(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        ask(str(tmp_path / "empty"))


def test_asking_imports_neither_torch_nor_numpy():
    program = ("import sys, gan_lightning.data.inspect; "
               "print([name for name in ('torch', 'numpy', 'lightning') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
