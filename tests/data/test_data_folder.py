"""Folders and zips of images: every layout, every format, and what goes wrong with them."""

import logging
import zipfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.data.decoded import Decoded
from gan_lightning.data.folder import Folder
from gan_lightning.data.inspect import image_classes
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError, DataError

random = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return random.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, image: Image.Image | np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def zipped(root: Path) -> Path:
    """A .zip beside `root` with the same files, folder entries included."""
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(root))
    return path


def folder(root: Path, **settings) -> Folder:
    defaults = {"resolution": 16, "channels": 3, "batch_size": 2, "workers": 0}
    return Folder(root=str(root), **defaults | settings)


def everything(data: Folder, split: str = "train") -> dict[str, torch.Tensor]:
    source = data.source(split)
    return source.take(torch.arange(len(source)))


FORMATS = {
    "grey.png": (lambda: Image.fromarray(noise(16, 16)), {}),
    "rgb.PNG": (lambda: Image.fromarray(noise(16, 16, 3)), {}),
    "palette.png": (lambda: Image.fromarray(noise(16, 16, 3)).quantize(200), {}),
    "colour.jpg": (lambda: Image.fromarray(noise(16, 16, 3)), {"quality": 90}),
    "grey.jpeg": (lambda: Image.fromarray(noise(16, 16)), {}),
    "cmyk.jpg": (lambda: Image.fromarray(noise(16, 16, 4), "CMYK"), {}),
    "lossless.webp": (lambda: Image.fromarray(noise(16, 16, 3)), {"lossless": True}),
    "lossy.webp": (lambda: Image.fromarray(noise(16, 16, 3)), {"quality": 80}),
    "plain.bmp": (lambda: Image.fromarray(noise(16, 16, 3)), {}),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_formats_against_pillow(tmp_path, packed, channels, mode):
    root = tmp_path / "set"
    files = [save(root / name, make(), **options) for name, (make, options) in FORMATS.items()]
    batch = everything(folder(zipped(root) if packed else root, channels=channels))
    assert "label" not in batch and batch["real"].shape == (len(FORMATS), channels, 16, 16)
    for got, file in zip(batch["real"].numpy(), sorted(files), strict=True):
        known = np.asarray(Image.open(file).convert(mode)).reshape(16, 16, channels)
        assert np.array_equal(got, known.transpose(2, 0, 1)), file.name


def test_lossless_formats_against_the_pixels_that_were_saved(tmp_path):
    rgb, deep = noise(16, 16, 3), random.integers(0, 65536, (16, 16)).astype(np.uint16)
    rgba = np.dstack([rgb, np.where(np.arange(256).reshape(16, 16) % 2, 255, 0).astype(np.uint8)])
    save(tmp_path / "a.png", rgb)
    save(tmp_path / "b.bmp", rgb)
    save(tmp_path / "c.webp", rgb, lossless=True)
    save(tmp_path / "d.png", rgba)
    save(tmp_path / "e.png", deep)
    a, b, c, d, e = everything(folder(tmp_path))["real"].permute(0, 2, 3, 1).numpy()
    assert all(np.array_equal(got, rgb) for got in (a, b, c))
    assert np.array_equal(d, np.where(rgba[..., 3:] == 255, rgb, 255))
    assert np.array_equal(e[..., 1], np.floor(deep / 257 + 0.5))


def test_sizes_are_cropped_and_resized(tmp_path):
    tall, wide = noise(50, 30, 3), noise(10, 14, 3)
    save(tmp_path / "a.png", tall)
    save(tmp_path / "b.png", wide)
    real = everything(folder(tmp_path))["real"].permute(0, 2, 3, 1).numpy()
    for got, square in zip(real, (tall[10:40], wide[:, 2:12]), strict=True):
        known = Image.fromarray(square).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(got, np.asarray(known))


def level(root: Path, name: str, value: int) -> None:
    save(root / name, np.full((16, 16), value, dtype=np.uint8))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("wrap", ["", "set/", "a/b/"])
def test_train_and_test_of_classes(tmp_path, packed, wrap):
    root = tmp_path / "root"
    names = ("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "test/dog/x/9.png", "test/eel/1.png")
    for value, name in enumerate(names, start=1):
        level(root, wrap + name, value)
    root = zipped(root) if packed else root
    data = folder(root, num_classes=3, channels=1)
    train, test = everything(data), everything(data, "test")
    assert train["real"][:, 0, 0, 0].tolist() == [1, 2, 3] and train["label"].tolist() == [0, 0, 1]
    assert test["real"][:, 0, 0, 0].tolist() == [4, 5] and test["label"].tolist() == [1, 2]
    assert "label" not in everything(folder(root, num_classes=0))
    with pytest.raises(ConfigError, match="data.num_classes=2: this set has 3 classes"):
        folder(root, num_classes=2).source()


@pytest.mark.parametrize("names, splits, classes", [
    (["1.png", "2.png"], {"train": 2}, 0),
    (["a/1.png", "b/2.png"], {"train": 2}, 2),
    (["a/1.png", "b/2.png", "3.png"], {"train": 3}, 0),             # images beside the folders
    (["only/1.png", "only/2.png"], {"train": 2}, 0),
    (["train/1.png", "test/2.png"], {"train": 1, "test": 1}, 0),
    (["Train/a/1.png", "Val/b/2.png"], {"train": 1, "test": 1}, 2),
    (["train/1.png", "train/2.png"], {"train": 2}, 0),
    (["train/i/1.png", "test/i/2.png"], {"train": 1, "test": 1}, 0),
    (["bus/1.png", "train/2.png"], {"train": 2}, 2),                # a class that is called train
])
def test_layouts(tmp_path, names, splits, classes):
    for name in names:
        level(tmp_path, name, 0)
    assert image_classes(str(tmp_path)) == classes
    data = folder(tmp_path, num_classes=classes)
    assert {split: len(data.source(split)) for split in splits} == splits
    if "test" not in splits:
        with pytest.raises(DataError, match="has no test folder"):
            data.source("test")


def test_says_what_it_found(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="gan_lightning")
    root = tmp_path / "root"
    for name in ("a/1.png", "b/2.png"):
        level(root, name, 0)
    save(root / "b/3.png", noise(20, 40))
    level(root, "__MACOSX/a/1.png", 0)
    level(root, ".thumbs/1.png", 0)
    level(root, "a/._1.png", 0)
    (root / "labels.txt").write_text("x")
    folder(root, num_classes=2).source()
    [record] = caplog.records
    assert record.getMessage() == (f"{root} (train): 3 images, 16x16 to 40x20 (2 sizes), 2 classes, "
                                   f"4 other files ignored")


def damaged(root: Path) -> None:
    """Six images: b is no image, d is cut short, f is empty."""
    for name in "ace":
        save(root / f"{name}.png", np.full((16, 16, 3), ord(name), dtype=np.uint8))
    (root / "b.png").write_bytes(b"this is no image")
    whole = save(root / "d.png", noise(16, 16, 3)).read_bytes()
    (root / "d.png").write_bytes(whole[:300])
    (root / "f.png").write_bytes(b"")


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_image_is_named(tmp_path, packed):
    root = tmp_path / "root"
    damaged(root)
    root = zipped(root) if packed else root
    with pytest.raises(DataError) as error:
        folder(root).source()
    message = str(error.value)
    assert f"{root}/b.png cannot be read (not an image)" in message and "data.on_error=skip" in message
    assert "\n" not in message


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_images_are_left_out_and_reported(tmp_path, packed, caplog):
    caplog.set_level(logging.INFO, logger="gan_lightning")
    root = tmp_path / "root"
    damaged(root)
    batch = everything(folder(zipped(root) if packed else root, on_error="skip"))
    assert batch["real"][:, 0, 0, 0].tolist() == [ord("a"), ord("c"), ord("e")]
    assert "3 images, 16x16, no classes, 3 unreadable left out (b.png, d.png, f.png)" in caplog.text


def test_labels_stay_with_their_images_when_some_are_left_out(tmp_path):
    for name, value in {"a/1.png": 0, "b/2.png": 1, "c/3.png": 2}.items():
        level(tmp_path, name, value)
    (tmp_path / "a/0.png").write_bytes(b"x")
    (tmp_path / "b/1.png").write_bytes(b"x")
    batch = everything(folder(tmp_path, num_classes=3, on_error="skip"))
    assert batch["label"].tolist() == [0, 1, 2] == batch["real"][:, 0, 0, 0].tolist()


def test_streaming_meets_damage_that_headers_do_not_show(tmp_path, caplog):
    damaged(tmp_path)
    source = folder(tmp_path, on_error="skip", memory_gb=0).source()
    assert isinstance(source, Decoded) and [Path(name).stem for name in source.names] == list("acde")
    assert source.take(torch.arange(4))["real"][:, 0, 0, 0].tolist() == [ord(name) for name in "acee"]
    source.take(torch.arange(4))
    assert caplog.text.count("d.png cannot be read") == 1
    for name in "bf":
        (tmp_path / f"{name}.png").unlink()
    data = folder(tmp_path, memory_gb=0, workers=1)
    with pytest.raises(DataError, match="d.png cannot be read") as error:
        list(islice(data.loader(batches_per_step=1, seed=0), 4))
    assert "\n" not in str(error.value)


def test_a_stand_in_brings_its_own_label(tmp_path):
    level(tmp_path, "b/2.png", 1)
    cut = save(tmp_path / "a/1.png", noise(16, 16)).read_bytes()[:150]
    (tmp_path / "a/1.png").write_bytes(cut)
    batch = everything(folder(tmp_path, num_classes=2, on_error="skip", memory_gb=0))
    assert batch["label"].tolist() == [1, 1] == batch["real"][:, 0, 0, 0].tolist()


def test_nothing_readable(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="none of its 1 images can be read"):
        folder(tmp_path, on_error="skip").source()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_equals_memory(tmp_path, packed, workers):
    root = tmp_path / "root"
    for i in range(11):
        save(root / f"{'ab'[i % 2]}/{i}.png", noise(20, 24, 3))
    root = zipped(root) if packed else root
    settings = {"num_classes": 2, "hflip": True, "workers": workers}
    held, streamed = folder(root, **settings), folder(root, memory_gb=0, **settings)
    assert isinstance(held.source(), InMemory) and isinstance(streamed.source(), Decoded)
    loaders = [data.loader(batches_per_step=3, seed=2, start=6) for data in (held, streamed)]
    count = 0
    for one, other in islice(zip(*loaders, strict=False), 5):
        assert torch.equal(one["real"], other["real"]) and torch.equal(one["label"], other["label"])
        count += 1
    assert count == 5


def test_missing_and_empty(tmp_path):
    with pytest.raises(DataError, match=r"data.root=.*nowhere does not exist"):
        folder(tmp_path / "nowhere").source()
    with pytest.raises(DataError, match="holds no images .*it is empty"):
        folder(tmp_path).source()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no images .*only 1 other files"):
        folder(tmp_path).source()
    with pytest.raises(DataError, match="neither a folder nor a .zip"):
        folder(tmp_path / "notes.txt").source()
    (tmp_path / "set.zip").write_bytes(b"PK not really")
    with pytest.raises(DataError, match="set.zip cannot be read as a .zip"):
        folder(tmp_path / "set.zip").source()


def test_a_set_smaller_than_a_batch(tmp_path):
    level(tmp_path, "1.png", 0)
    with pytest.raises(ConfigError, match=r"data.batch_size=2.*only 1 image"):
        folder(tmp_path).loader(batches_per_step=1, seed=0)


def test_on_error_has_two_values(tmp_path):
    level(tmp_path, "1.png", 0)
    with pytest.raises(ConfigError, match="data.on_error=ignore"):
        folder(tmp_path, on_error="ignore").source()


def test_a_link_back_up_is_followed_once(tmp_path):
    level(tmp_path, "a/1.png", 0)
    level(tmp_path, "b/1.png", 0)
    (tmp_path / "a/up").symlink_to(tmp_path, target_is_directory=True)
    assert len(folder(tmp_path, num_classes=2).source()) == 2
