"""Streamed datasets of the Hugging Face library, from files that the tests make."""

import os
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from gan_lightning.data.huggingface import HuggingFace
from gan_lightning.errors import ConfigError, DataError

COUNTS = [5, 17, 1, 9]
N = sum(COUNTS)


@pytest.fixture(autouse=True, scope="module")
def _a_home_of_its_own(tmp_path_factory):
    """Of the library's own cache, as long as nothing has imported it; and no network is asked for."""
    before = {name: os.environ.get(name) for name in ("HF_HOME", "HF_HUB_OFFLINE")}
    os.environ |= {"HF_HOME": str(tmp_path_factory.mktemp("hf")), "HF_HUB_OFFLINE": "1"}
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def rows(by_hand, first: int, count: int) -> dict[str, list]:
    numbers = range(first, first + count)
    return {"image": [{"bytes": by_hand.encoded(i), "path": None} for i in numbers], "label": list(numbers)}


def features(classes: int | None = N):
    import datasets

    label = datasets.ClassLabel(num_classes=classes) if classes else datasets.Value("int64")
    return datasets.Features({"image": datasets.Image(), "label": label})


def parquet(folder: Path, by_hand, split: str = "train", classes: int | None = N) -> Path:
    """Files with COUNTS images in row groups of 4; image i has label i."""
    import pyarrow
    from pyarrow.parquet import write_table

    folder.mkdir(parents=True, exist_ok=True)
    for shard, count in enumerate(COUNTS):
        table = pyarrow.table(rows(by_hand, sum(COUNTS[:shard]), count), schema=features(classes).arrow_schema)
        write_table(table, folder / f"{split}-{shard:05}-of-{len(COUNTS):05}.parquet", row_group_size=4)
    return folder


def image_folder(folder: Path, by_hand) -> Path:
    for i in range(N):
        path = folder / "train" / f"{i:02}" / "x.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(by_hand.encoded(i))
    return folder


def saved(folder: Path, by_hand) -> Path:
    import datasets

    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict(rows(by_hand, 0, N), features=features())
    datasets.DatasetDict({"train": table, "test": table.select(range(3))}).save_to_disk(folder, num_shards={
        "train": 4, "test": 1})
    (folder / "train" / "cache-0123456789abcdef.arrow").write_bytes(b"what Dataset.map leaves there")
    return folder


def tars(folder: Path, by_hand) -> Path:
    by_hand.make_shards(folder, COUNTS)
    return folder


KINDS = {"parquet": parquet, "image_folder": image_folder, "saved": saved, "tars": tars}


def data(path: Path, **settings) -> HuggingFace:
    return HuggingFace(**{"path": str(path), "resolution": 8, "channels": 1, "num_classes": N, "batch_size": 4, "workers": 0,
                          "shards_at_once": 2, "shuffle": 6} | settings)


def steps(path: Path, count: int, settings: dict | None = None, **place) -> list[dict[str, torch.Tensor]]:
    return list(islice(data(path, **settings or {}).loader(**{"batches_per_step": 1, "seed": 5} | place), count))


def same(one: list[dict], other: list[dict]) -> bool:
    return len(one) == len(other) and all(torch.equal(a[name], b[name])
                                          for a, b in zip(one, other, strict=True) for name in a)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_once_and_the_same_stream_on_and_on(by_hand, tmp_path, kind):
    root = KINDS[kind](tmp_path / "set", by_hand)
    opened = data(root)
    opened.check()
    assert opened.count() == N and sorted(opened.source().label.tolist()) == list(range(N))
    ranks = [steps(root, 2 * N // 8 + 1, {"workers": workers}, rank=rank, world_size=2) for rank, workers in enumerate((0, 2))]
    stream = torch.cat([step["label"] for together in zip(*ranks, strict=True) for step in together])
    assert all(sorted(epoch.tolist()) == list(range(N)) for epoch in stream[:2 * N].view(2, N))
    batch = ranks[0][0]
    assert all((image[0].numpy() == by_hand.picture(i)).all()
               for image, i in zip(batch["real"], batch["label"].tolist(), strict=True))
    for done, workers in ((1, 2), (3, 0), (9, 0)):      # in the middle of a file and of an epoch, and in the next
        more = steps(root, 6, {"workers": workers}, start=4 * done)
        assert same(steps(root, 15)[done:done + 6], more)


def test_whole_files_are_skipped_unread(by_hand, tmp_path):
    root = parquet(tmp_path / "set", by_hand)
    settings = {"shards_at_once": 1, "shuffle": 4, "num_classes": 0}
    first = data(root, **settings)
    loader = first.loader(batches_per_step=1, seed=5, start=N - 4)
    last = {piece.shard for piece in next(loader.order.blocks(0, N - 4)).pieces}
    assert len(last) < len(COUNTS)
    for shard, name in enumerate(first.shards().names):
        if shard not in last:
            Path(name).unlink()
    assert len(next(iter(loader))["real"]) == 4         # the others are not there any more


def test_counts_are_kept_until_a_file_changes(by_hand, tmp_path):
    root = parquet(tmp_path / "set", by_hand)
    assert [fact[:4] for fact in data(root).shards().facts] == [(5, 5, 0, 4), (17, 17, 5, 21), (1, 1, 22, 22), (9, 9, 23, 31)]
    kept = list((tmp_path / "cache").glob("shards-*.npz"))
    assert data(root).count() == N and list((tmp_path / "cache").glob("shards-*.npz")) == kept and len(kept) == 1
    (root / "train-00001-of-00004.parquet").write_bytes((root / "train-00000-of-00004.parquet").read_bytes())
    assert [fact.count for fact in data(root).shards().facts] == [5, 5, 1, 9]


def test_columns(by_hand, tmp_path):
    root = parquet(tmp_path / "set", by_hand, classes=None)
    assert sorted(data(root).source().label.tolist()) == list(range(N))      # the only whole numbers
    assert data(root, num_classes=0).source().label is None
    data(root, image_key="image", label_key="label").check()
    with pytest.raises(ConfigError, match=r"data.image_key=label: must name a column of images; choose one of image \(the "
                                          "columns of .* are image, label"):
        data(root, image_key="label").check()
    with pytest.raises(ConfigError, match="data.label_key=x: must name a column of labels.* choose one of label, or data.num"):
        data(root, label_key="x").check()
    with pytest.raises(ConfigError, match="data.num_classes=20: labels in .*00001-of-00004.parquet are 5 to 21"):
        data(root, num_classes=20).check()
    classes = parquet(tmp_path / "classes", by_hand)
    with pytest.raises(ConfigError, match=f"data.num_classes=40: this set has {N} classes"):
        data(classes, num_classes=40).check()


def test_images_that_the_file_does_not_call_so(by_hand, tmp_path):
    import pyarrow
    from pyarrow.parquet import write_table

    (tmp_path / "a").mkdir()
    write_table(pyarrow.table(rows(by_hand, 0, 6)), tmp_path / "a" / "train-0.parquet")
    assert data(tmp_path / "a").source().label.tolist() == list(range(6))
    (tmp_path / "b").mkdir()
    table = {"png": [by_hand.encoded(i) for i in range(6)], "class": list(range(6)), "text": ["x"] * 6}
    write_table(pyarrow.table(table), tmp_path / "b" / "train-0.parquet")
    source = data(tmp_path / "b").source()
    assert source.label.tolist() == list(range(6)) and (source.real[3, 0].numpy() == by_hand.picture(3)).all()
    (tmp_path / "c").mkdir()
    write_table(pyarrow.table({"text": ["x"]}), tmp_path / "c" / "train-0.parquet")
    with pytest.raises(ConfigError, match="data.image_key=null: must name a column of images; there is none .* are text"):
        data(tmp_path / "c").check()


def test_missing_labels_and_damaged_images(by_hand, tmp_path):
    import pyarrow
    from pyarrow.parquet import write_table

    for name, label in (("null", None), ("minus", -1)):                      # what test sets on the hub have
        (tmp_path / name).mkdir()
        table = rows(by_hand, 0, 6) | {"label": [0, 1, label, 3, 4, 5]}
        write_table(pyarrow.table(table), tmp_path / name / "train-0.parquet")
        with pytest.raises(DataError, match="1 of its 6 images have no label"):
            data(tmp_path / name).check()
        assert data(tmp_path / name, num_classes=0).count() == 6
    (tmp_path / "bad").mkdir()
    table = rows(by_hand, 0, 6)
    table["image"][2], table["image"][4] = {"bytes": b"no image", "path": None}, None
    write_table(pyarrow.table(table), tmp_path / "bad" / "train-0.parquet")
    with pytest.raises(DataError, match=r"train-0.parquet, image 3 cannot be read \(not an image\)"):
        data(tmp_path / "bad").check()
    assert data(tmp_path / "bad", on_error="skip").source().label.tolist() == [0, 1, 3, 5]
    stream = torch.cat([step["label"] for step in steps(tmp_path / "bad", 6, {"on_error": "skip", "batch_size": 1})])
    assert len(stream) == 6 and set(stream.tolist()) == {0, 1, 3, 5}
    (tmp_path / "bad" / "train-0.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"data.path=.*bad: train cannot be opened \("):
        data(tmp_path / "bad").check()


def test_splits_and_names(by_hand, tmp_path):
    root = parquet(tmp_path / "set", by_hand)
    parquet(root, by_hand, "validation")
    assert len(data(root, test_split="validation").source("test")) == N
    assert len(data(root, train_split="validation").source()) == N
    with pytest.raises(DataError, match="test cannot be opened .*Available splits.* data.test_split"):
        data(root).source("test")
    with pytest.raises(DataError, match="train cannot be opened .*BuilderConfig 'x' not found.* data.name"):
        data(root, name="x").check()
    assert len(data(saved(tmp_path / "saved", by_hand)).source("test")) == 3


@pytest.mark.parametrize("path", ["nobody/nothing", "nothing-of-that-name"])
def test_names_that_are_not_there_or_offline(path, capfd):
    with pytest.raises(DataError, match=f"data.path={path}: train cannot be opened .*needs a network") as error:
        data(path).check()
    assert "\n" not in str(error.value) and capfd.readouterr().err == ""


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"data.path=.*/nowhere does not exist"):
        data(tmp_path / "nowhere").check()


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'gan_lightning\[huggingface\]'"):
        data("x/y")
