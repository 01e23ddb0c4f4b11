"""torchvision's sets, from small files in the layout that each has on disk.

They go through torchvision's own readers; only its tables of checksums are exchanged, for those of our files.
"""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from gan_lightning.data import torchvision_sets as sets
from gan_lightning.data.decoded import Decoded
from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError, DataError

random = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return random.integers(0, 256, shape, dtype=np.uint8)


def write(path: Path, content: bytes) -> str:
    """Writes a file and returns its MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def everything(data, split: str = "train") -> dict[str, torch.Tensor]:
    source = data.source(split)
    return source.take(torch.arange(len(source)))


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files: zero, zero, 8 (bytes), rank; the sizes, big-endian; the values."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes() + array.tobytes()


@pytest.mark.parametrize("kind, folder", [(sets.MNIST, "MNIST"), (sets.FashionMNIST, "FashionMNIST"),
                                          (sets.KMNIST, "KMNIST")])
def test_mnist_family(tmp_path, kind, folder):
    known = {}
    for split, prefix, n in (("train", "train", 12), ("test", "t10k", 5)):
        known[split] = noise(n, 28, 28), random.integers(0, 10, n).astype(np.uint8)
        write(tmp_path / folder / "raw" / f"{prefix}-images-idx3-ubyte", idx(known[split][0]))
        write(tmp_path / folder / "raw" / f"{prefix}-labels-idx1-ubyte", idx(known[split][1]))
    data = kind(root=str(tmp_path), resolution=28, channels=1, num_classes=10)
    data.prepare()                                      # all is there: downloads nothing
    for split, (images, labels) in known.items():
        batch = everything(data, split)
        assert np.array_equal(batch["real"].numpy(), images[:, None])
        assert np.array_equal(batch["label"].numpy(), labels) and batch["label"].dtype == torch.int64
    larger = everything(kind(root=str(tmp_path), resolution=32, channels=1))["real"]
    for got, image in zip(larger.numpy().astype(int), known["train"][0], strict=True):
        by_pillow = Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)
        assert np.abs(got[0] - np.asarray(by_pillow)).max() <= 2


@pytest.mark.parametrize("kind, theirs, key, classes", [
    (sets.CIFAR10, datasets.CIFAR10, "labels", 10), (sets.CIFAR100, datasets.CIFAR100, "fine_labels", 100)])
def test_cifar(tmp_path, monkeypatch, kind, theirs, key, classes):
    known, tables = {}, {}
    for name in ("one", "two", "test"):                 # planes of red, green, blue, each row by row
        known[name] = noise(4, 3 * 32 * 32), random.integers(0, classes, 4).tolist()
        content = pickle.dumps({"data": known[name][0], key: known[name][1]})
        tables[name] = [name, write(tmp_path / theirs.base_folder / name, content)]
    meta = write(tmp_path / theirs.base_folder / "meta", pickle.dumps({"names": ["x"]}))
    monkeypatch.setattr(theirs, "train_list", [tables["one"], tables["two"]])
    monkeypatch.setattr(theirs, "test_list", [tables["test"]])
    monkeypatch.setattr(theirs, "meta", {"filename": "meta", "key": "names", "md5": meta})
    data = kind(root=str(tmp_path), resolution=32, channels=3, num_classes=classes)
    data.prepare()
    for split, names in (("train", ("one", "two")), ("test", ("test",))):
        batch = everything(data, split)
        planes = np.concatenate([known[name][0] for name in names]).reshape(-1, 3, 32, 32)
        assert np.array_equal(batch["real"].numpy(), planes)
        assert batch["label"].tolist() == sum((known[name][1] for name in names), [])
    assert data.source().real.is_contiguous()


def test_svhn(tmp_path, monkeypatch):
    images, digits = noise(32, 32, 3, 6), np.array([[1], [9], [10], [3], [10], [2]], dtype=np.uint8)
    table = {}
    for split in ("train", "test"):
        scipy.io.savemat(tmp_path / f"{split}.mat", {"X": images, "y": digits})
        md5 = hashlib.md5((tmp_path / f"{split}.mat").read_bytes()).hexdigest()
        table[split] = ["", f"{split}.mat", md5]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    data = sets.SVHN(root=str(tmp_path), resolution=32, channels=3, num_classes=10)
    data.prepare()
    batch = everything(data, "test")
    assert np.array_equal(batch["real"].numpy(), images.transpose(3, 2, 0, 1))
    assert batch["label"].tolist() == [1, 9, 0, 3, 0, 2]            # their 10 is the digit 0


def test_stl10(tmp_path, monkeypatch):
    def columns(images: np.ndarray) -> bytes:           # its planes are column by column
        return images.transpose(0, 1, 3, 2).tobytes()

    train, free, test = noise(3, 3, 96, 96), noise(5, 3, 96, 96), noise(2, 3, 96, 96)
    files = {"train_X.bin": columns(train), "train_y.bin": bytes([1, 10, 4]),
             "unlabeled_X.bin": columns(free), "test_X.bin": columns(test), "test_y.bin": bytes([2, 3])}
    md5 = {name: write(tmp_path / "stl10_binary" / name, content) for name, content in files.items()}
    table = [[name, md5[name]] for name in files]
    monkeypatch.setattr(datasets.STL10, "train_list", table[:3])
    monkeypatch.setattr(datasets.STL10, "test_list", table[3:])
    settings = {"root": str(tmp_path), "resolution": 96, "channels": 3}
    data = sets.STL10(num_classes=10, **settings)
    data.prepare()
    assert np.array_equal(everything(data)["real"].numpy(), train)
    assert everything(data)["label"].tolist() == [0, 9, 3]
    assert everything(data, "test")["label"].tolist() == [1, 2]
    batch = everything(sets.STL10(unlabeled=True, **settings))
    assert np.array_equal(batch["real"].numpy(), free) and "label" not in batch
    with pytest.raises(ConfigError, match="data.num_classes=10: this set has 0 classes"):
        sets.STL10(unlabeled=True, num_classes=10, **settings).source()


def test_celeba(tmp_path, monkeypatch):
    base, faces = tmp_path / "celeba", {f"{i:06}.jpg": noise(218, 178, 3) for i in range(1, 7)}
    (base / "img_align_celeba").mkdir(parents=True)
    for name, pixels in faces.items():
        Image.fromarray(pixels).save(base / "img_align_celeba" / name)
    part = dict(zip(faces, (0, 0, 1, 2, 0, 2), strict=True))
    texts = {"list_eval_partition.txt": "".join(f"{name} {part[name]}\n" for name in faces),
             "identity_CelebA.txt": "".join(f"{name} 7\n" for name in faces)}
    for file in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt", "list_attr_celeba.txt"):
        texts[file] = "5\nx y\n" + "".join(f"{name} 1 -1\n" for name in faces)
    table = [("", write(base / name, text.encode()), name) for name, text in texts.items()]
    monkeypatch.setattr(datasets.CelebA, "file_list", table)
    data = sets.CelebA(root=str(tmp_path), resolution=64, channels=3)
    data.prepare()
    assert len(data.source("test")) == 2
    batch = everything(data)
    assert "label" not in batch
    for got, name in zip(batch["real"].numpy(), ("000001.jpg", "000002.jpg", "000005.jpg"), strict=True):
        square = Image.open(base / "img_align_celeba" / name).crop((0, 20, 178, 198))
        known = square.resize((64, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(got, np.asarray(known).transpose(2, 0, 1))
    streamed = sets.CelebA(root=str(tmp_path), resolution=64, channels=3, memory_gb=0)
    assert isinstance(data.source(), InMemory) and isinstance(streamed.source(), Decoded)
    assert torch.equal(everything(streamed)["real"], batch["real"])


@pytest.mark.parametrize("kind, name, folder", [(sets.MNIST, "mnist", "MNIST/raw"), (sets.SVHN, "svhn", ""),
                                                (sets.CIFAR10, "cifar10", "cifar-10-batches-py")])
def test_a_set_that_is_not_there(tmp_path, kind, name, folder):
    data = kind(root=str(tmp_path), resolution=32, channels=3)
    with pytest.raises(DataError) as error:
        data.source()
    message = str(error.value)
    assert message.startswith(f"data={name} cannot be downloaded or read (Dataset not found")
    assert str(tmp_path / folder) in message and "data=digits" in message and "data=folder" in message
    assert "\n" not in message


def test_a_download_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"file://{tmp_path}/nowhere/"])
    with pytest.raises(DataError, match="data=mnist cannot be downloaded or read") as error:
        sets.MNIST(root=str(tmp_path), resolution=28, channels=1).prepare()
    assert "\n" not in str(error.value)
