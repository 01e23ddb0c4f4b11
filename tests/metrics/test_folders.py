"""Two folders for comparison: what is handed out, and the one line for each way in which they cannot be compared."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.data.folder import Folder
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError, DataError
from gan_lightning.metrics.folders import lossy_share, open_pair

random = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return random.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def two(tmp_path: Path, fake: tuple[int, ...], real: tuple[int, ...], n: int = 3) -> tuple[str, str]:
    """Folders fake and real with n images of these shapes."""
    for name, shape in (("fake", fake), ("real", real)):
        for i in range(n):
            save(tmp_path / name / f"{i}.png", noise(*shape))
    return str(tmp_path / "fake"), str(tmp_path / "real")


def zipped(root: str) -> str:
    with zipfile.ZipFile(f"{root}.zip", "w") as archive:
        for file in sorted(Path(root).rglob("*.*")):
            archive.write(file, file.relative_to(root))
    return f"{root}.zip"


def taken(data, split=None):
    source = data.source(split)
    return source.take(torch.arange(len(source)))


@pytest.mark.parametrize("memory_gb", [4.0, 0.0])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape, channels", [((12, 20), 1), ((20, 12, 3), 3)])
def test_pixels_as_they_are_stored(tmp_path, shape, channels, packed, memory_gb):
    roots = two(tmp_path, shape, shape)
    files = [sorted(Path(root).iterdir()) for root in roots]
    pair = open_pair(*map(zipped, roots) if packed else roots, memory_gb=memory_gb)
    for data, names in zip(pair, files, strict=True):
        assert (data.size, data.resolution) == (shape[:2], min(shape[:2]))
        assert (data.channels, data.num_classes) == (channels, 0)
        assert isinstance(data.source(), InMemory) == (memory_gb > 0)
        batch = taken(data)
        assert batch.keys() == {"real"} and batch["real"].dtype == torch.uint8
        known = [np.asarray(Image.open(name)).reshape(*shape[:2], channels) for name in names]
        assert np.array_equal(batch["real"].permute(0, 2, 3, 1).numpy(), np.stack(known))


def test_square_images_have_one_number_for_a_resolution(tmp_path):
    fake, real = open_pair(*two(tmp_path, (16, 16), (16, 16)))
    assert fake.resolution == real.resolution == 16


@pytest.mark.parametrize("memory_gb", [4.0, 0.0])
def test_a_resolution_makes_them_as_training_data(tmp_path, memory_gb):
    roots = two(tmp_path, (30, 20, 3), (16, 16, 3))
    save(tmp_path / "fake/9.png", noise(40, 24, 3))
    pair = open_pair(*roots, resolution=16, memory_gb=memory_gb)
    for data, root in zip(pair, roots, strict=True):
        known = taken(Folder(root=root, resolution=16, channels=3, batch_size=1))["real"]
        assert data.resolution == 16 and torch.equal(taken(data)["real"], known)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_make_grey_and_colour_alike(tmp_path, channels):
    roots = two(tmp_path, (16, 16), (16, 16, 3))
    save(tmp_path / "real/9.png", noise(16, 16))
    pair = open_pair(*roots, channels=channels)
    for data, root in zip(pair, roots, strict=True):
        known = taken(Folder(root=root, resolution=16, channels=channels, batch_size=1))["real"]
        assert data.channels == channels and torch.equal(taken(data)["real"], known)


def test_labels_where_both_have_the_same_classes(tmp_path):
    for name in ("fake/dog/1", "fake/eel/1", "real/cat/1", "real/dog/1", "real/eel/1"):
        save(tmp_path / f"{name}.png", noise(8, 8))
    fake, real = open_pair(str(tmp_path / "fake"), str(tmp_path / "real"))
    assert (fake.num_classes, real.num_classes) == (3, 3) and fake.class_names == real.class_names
    assert taken(fake)["label"].tolist() == [1, 2] and taken(real)["label"].tolist() == [0, 1, 2]
    assert fake.source().label.tolist() == [1, 2]


@pytest.mark.parametrize("names", [("1", "2"), ("dog/1", "fox/1")])
def test_no_labels_for_fakes_of_no_or_other_classes(tmp_path, names):
    for name in (*(f"fake/{name}" for name in names), "real/cat/1", "real/dog/1"):
        save(tmp_path / f"{name}.png", noise(8, 8))
    fake, real = open_pair(str(tmp_path / "fake"), str(tmp_path / "real"))
    assert (fake.num_classes, real.num_classes) == (0, 2)
    assert "label" not in taken(fake) and taken(real)["label"].tolist() == [0, 1]


def test_splits(tmp_path):
    train = [save(tmp_path / f"real/train/{i}.png", noise(8, 8)) for i in range(2)]
    test = [save(tmp_path / f"real/test/{i}.png", noise(8, 8)) for i in range(3)]
    save(tmp_path / "fake/1.png", noise(8, 8))
    save(tmp_path / "fake/2.png", noise(8, 8))
    flat, real = str(tmp_path / "fake"), str(tmp_path / "real")
    fakes, reals = open_pair(flat, real)
    assert (fakes.split, reals.split) == ("train", "train") and len(reals.source()) == 2
    assert np.array_equal(taken(reals, "test")["real"][:, 0].numpy(), np.stack(test))
    fakes, reals = open_pair(flat, real, split="test")
    assert (fakes.split, reals.split) == ("train", "test") and len(reals.source()) == 3
    fakes, reals = open_pair(real, real, split="train", fake_split="test")
    assert np.array_equal(taken(fakes)["real"][:, 0].numpy(), np.stack(test))
    assert np.array_equal(taken(reals)["real"][:, 0].numpy(), np.stack(train))
    with pytest.raises(DataError, match=r"^real=.*fake has no test folder, only train; choose split=train"):
        open_pair(flat, flat, split="test")


def refused(*args, **settings) -> str:
    with pytest.raises((ConfigError, DataError)) as error:
        open_pair(*args, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_unequal_sizes_between_the_folders(tmp_path):
    fake, real = two(tmp_path, (32, 32), (48, 64))
    assert refused(fake, real) == (f"fake images are 32 x 32 (e.g. {fake}/0.png), real ones 64 x 48 (e.g. {real}/0.png); "
                                   f"make them equal, or give resolution=N to crop and resize both")


@pytest.mark.parametrize("memory_gb", [4.0, 0.0])
def test_unequal_sizes_within_a_folder(tmp_path, memory_gb):
    fake, real = two(tmp_path, (16, 16), (16, 16), n=300)
    save(Path(real, "299.png"), noise(16, 24))
    message = refused(fake, real, memory_gb=memory_gb)
    assert message == (f"real images differ in size: {real}/0.png is 16 x 16, {real}/299.png 24 x 16; "
                       f"make them equal, or give resolution=N to crop and resize all")


def test_grey_against_colour(tmp_path):
    fake, real = two(tmp_path, (16, 16, 3), (16, 16))
    advice = "give channels=3 to compare all as RGB, or channels=1 as grey"
    assert refused(fake, real) == (f"fake images are colour (e.g. {fake}/0.png), real ones grey (e.g. {real}/0.png); "
                                   f"{advice}")
    fake, real = two(tmp_path / "b", (16, 16, 3), (16, 16, 3))
    save(Path(fake, "1.png"), noise(16, 16))
    assert refused(fake, real) == (f"fake images are partly grey: {fake}/0.png is colour, {fake}/1.png grey; {advice}")


@pytest.mark.parametrize("name", ["0.png", "2.png"])
def test_damaged_files_are_named(tmp_path, name):
    fake, real = two(tmp_path, (16, 16), (16, 16))
    Path(fake, name).write_bytes(b"no image")
    assert refused(fake, real) == f"fake image {fake}/{name} cannot be read (not an image); mend or remove it"


def test_too_few_and_none(tmp_path):
    fake, real = two(tmp_path, (16, 16), (16, 16))
    Path(fake, "1.png").unlink()
    Path(fake, "2.png").unlink()
    assert refused(fake, real) == f"fake={fake} has only 1 image (0.png); a comparison needs at least 2"
    Path(fake, "0.png").unlink()
    assert refused(fake, real).startswith(f"fake={fake} holds no images")
    assert refused(real, f"{real}/nowhere").startswith(f"real={real}/nowhere does not exist")


@pytest.mark.parametrize("settings", [{"resolution": 0}, {"channels": 2}])
def test_settings_that_cannot_be(tmp_path, settings):
    [(name, value)] = settings.items()
    assert refused(*two(tmp_path, (8, 8), (8, 8)), **settings).startswith(f"{name}={value}: must be")


def test_an_image_that_its_exif_data_turn(tmp_path):
    fake, real = two(tmp_path, (12, 20), (12, 20))
    turned = Image.fromarray(noise(20, 12))
    exif = turned.getexif()
    exif[0x0112] = 6
    for name in ("1.png", "2.jpg"):
        turned.save(Path(fake, name), exif=exif)
    assert open_pair(fake, real)[0].source().real.shape == (4, 1, 12, 20)


@pytest.mark.parametrize("packed", [False, True])
def test_lossy_files_by_their_contents(tmp_path, packed):
    fake, real = two(tmp_path, (16, 16), (16, 16), n=4)
    for i, options in enumerate([{"format": "JPEG"}, {"format": "WEBP"}, {"format": "WEBP", "lossless": True}]):
        save(Path(real, f"{i}.png"), noise(16, 16), **options)
    exif = Image.Exif()
    exif[0x010E] = "an extended header"
    save(Path(real, "4.webp"), noise(16, 16, 3), quality=50, exif=exif)
    save(Path(real, "5.webp"), noise(16, 16, 3), lossless=True, exif=exif)
    if packed:
        fake, real = zipped(fake), zipped(real)
    fakes, reals = open_pair(fake, real, channels=1)
    assert lossy_share(fakes) == 0 and lossy_share(reals) == 3 / 6      # 3.png is left as it was


def test_a_set_without_files_is_not_lossy():
    from gan_lightning.data.digits import Digits
    assert lossy_share(Digits(resolution=8, channels=1)) == 0
