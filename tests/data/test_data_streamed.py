"""Sets in shards as training sees them: every image once, the same stream on and on, and what is held of it."""

import logging
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.data.encoded import spread
from gan_lightning.data.shard_order import Piece
from gan_lightning.data.shards import Facts, look_at_all
from gan_lightning.data.sources import InMemory
from gan_lightning.data.tars import TarShards
from gan_lightning.data.webdataset import WebDataset
from gan_lightning.errors import ConfigError, DataError

COUNTS = [5, 17, 1, 30, 9, 12]                          # uneven
N = sum(COUNTS)


@pytest.fixture
def shards(by_hand, tmp_path):
    by_hand.make_shards(tmp_path / "shards", COUNTS)
    return tmp_path / "shards"


def data(root, **settings) -> WebDataset:
    return WebDataset(**{"root": str(root), "resolution": 8, "channels": 1, "num_classes": N, "batch_size": 4,
                         "hflip": True, "workers": 0, "shards_at_once": 3, "shuffle": 9} | settings)


def steps(root, count: int, settings: dict | None = None, **place) -> list[dict[str, torch.Tensor]]:
    loader = data(root, **settings or {}).loader(**{"batches_per_step": 1, "seed": 5} | place)
    return list(islice(loader, count))


def joined(batches: list[dict[str, torch.Tensor]], name: str = "label") -> torch.Tensor:
    return torch.cat([batch[name] for batch in batches])


def same(one: list[dict], other: list[dict]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_each_epoch_is_complete_over_all_processes_and_workers(shards, world_size, workers):
    count = 3 * N // (4 * world_size) + 1
    ranks = [steps(shards, count, {"workers": workers}, rank=rank, world_size=world_size) for rank in range(world_size)]
    stream = torch.cat([step["label"] for together in zip(*ranks, strict=True) for step in together])
    epochs = stream[:3 * N].view(3, N)
    assert all(sorted(epoch.tolist()) == list(range(N)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3


def test_the_number_of_workers_changes_nothing(shards):
    one = steps(shards, 30, batches_per_step=2)
    for workers in (1, 2, 3, 7):                        # the last is more than there are lanes
        assert same(one, steps(shards, 30, {"workers": workers}, batches_per_step=2))
    tiny = {"batch_size": 1, "workers": 3}              # steps that not all workers have a part in
    assert same(steps(shards, 20, {"batch_size": 1}), steps(shards, 20, tiny))


def test_order_depends_on_the_seed_and_on_nothing_else(shards):
    torch.manual_seed(0)
    np.random.seed(0)
    one, state = steps(shards, 10), torch.get_rng_state()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    np.random.seed(1)
    assert same(one, steps(shards, 10)) and same(one, steps(shards, 10, {"workers": 2}))
    assert not same(one, steps(shards, 10, seed=6))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("rank, world_size", [(0, 1), (1, 3)])
def test_to_go_on_is_to_have_skipped(shards, rank, world_size, workers):
    """Bit for bit, in the middle of shards, of blocks and of epochs, and over their ends."""
    whole = steps(shards, 60, batches_per_step=2, rank=rank, world_size=world_size)
    for done in (1, 2, 5, 9, 13, 37):
        more = steps(shards, 12, {"workers": workers}, batches_per_step=2, rank=rank, world_size=world_size,
                     start=done * 8 * world_size)
        assert same(whole[done:done + 12], more)


def test_a_start_that_is_no_multiple_of_a_step_loses_nothing(shards):
    """After a resume with another batch size: all places from there on, each once."""
    ranks = [steps(shards, 40, start=30, rank=rank, world_size=2) for rank in range(2)]
    assert min(Counter(torch.cat([joined(rank) for rank in ranks]).tolist()).values()) >= (320 - 2 * N) // N


def test_images_come_with_their_labels_and_half_are_mirrored(by_hand, shards):
    batches = steps(shards, 100)
    real, label = joined(batches, "real"), joined(batches)
    assert real.dtype == torch.uint8 and real.shape == (400, 1, 8, 8) and label.dtype == torch.int64
    known = torch.stack([torch.from_numpy(by_hand.picture(i)) for i in label.tolist()])[:, None]
    plain, mirrored = ((real == image).flatten(1).all(1) for image in (known, known.flip(-1)))
    assert torch.equal(plain, ~mirrored) and 150 < mirrored.sum() < 250     # 5 standard deviations
    unflipped = steps(shards, 100, {"hflip": False})
    assert torch.equal(joined(unflipped), label) and torch.equal(joined(unflipped, "real"), known)
    assert "label" not in steps(shards, 1, {"num_classes": 0})[0]


def test_images_are_cropped_resized_and_converted(by_hand, shards):
    batch = steps(shards, 2, {"resolution": 4, "channels": 3, "hflip": False})[0]
    for got, i in zip(batch["real"], batch["label"].tolist(), strict=True):
        known = Image.fromarray(by_hand.picture(i)).convert("RGB").resize((4, 4), Image.Resampling.BICUBIC)
        assert np.array_equal(got.numpy(), np.asarray(known).transpose(2, 0, 1))


def test_whole_shards_are_skipped_unread(by_hand, tmp_path, monkeypatch):
    by_hand.make_shards(tmp_path / "many", [20] * 6)
    read = []
    original = TarShards.read

    def counting(self, shard, start):
        for sample in original(self, shard, start):
            read.append((shard, sample.label))
            yield sample

    monkeypatch.setattr(TarShards, "read", counting)
    settings = {"num_classes": 120, "shards_at_once": 1, "shuffle": 10, "batch_size": 5}
    steps(tmp_path / "many", 24, settings)
    shards = list(dict.fromkeys(shard for shard, _ in read))
    assert len(read) == len(set(read)) == 120 and sorted(shards) == list(range(6))
    for start in (5, 45, 100):
        read.clear()
        steps(tmp_path / "many", 1, settings, start=start)
        assert {shard for shard, _ in read} == {shards[start // 20]}        # nothing of those before it
        assert len(read) == 10                                              # and of it, one block
    read.clear()
    two = [steps(tmp_path / "many", 12, settings, rank=rank, world_size=2) for rank in (0, 1)]
    assert len(two) == 2 and len(read) == len(set(read)) == 120             # each process reads its own


def test_few_shards_are_shared_and_said(by_hand, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="gan_lightning")
    (path,) = by_hand.make_shards(tmp_path / "one", [24], suffix=".tgz")    # which has to be read from the front
    settings = {"shards_at_once": 8, "workers": 2}
    ranks = [steps(tmp_path / "one", 3, settings, rank=rank, world_size=2) for rank in (0, 1)]
    assert sorted(torch.cat([joined(rank) for rank in ranks]).tolist()) == list(range(24))
    (line,) = [r.getMessage() for r in caplog.records if "share" in r.getMessage()]
    assert "2 processes, each with data.shards_at_once=8, share 1 shards" in line and "about 817 % more" in line  # 196 of 24
    caplog.clear()
    by_hand.make_shards(tmp_path / "plain", [24])       # this can be entered anywhere
    steps(tmp_path / "plain", 3, settings)
    assert not [r for r in caplog.records if "share" in r.getMessage()]
    steps(tmp_path / "plain", 1, {"workers": 9})
    assert "data.workers=9: only 3 are of use" in caplog.text


# What is held

def test_the_reference_is_the_whole_of_a_small_set(by_hand, shards, caplog):
    caplog.set_level(logging.INFO, logger="gan_lightning")
    set_ = data(shards)
    set_.check()
    source = set_.source()
    assert isinstance(source, InMemory) and source.label.tolist() == list(range(N)) and set_.count() == N
    assert all(np.array_equal(source.real[i, 0].numpy(), by_hand.picture(i)) for i in range(N))
    assert f"{shards} (train): 74 images in 6 shards; 74 of them are held as a reference, 8x8" in caplog.text


def test_the_reference_of_a_large_set_is_bounded_and_from_all_over(by_hand, tmp_path):
    by_hand.make_shards(tmp_path, [300, 100, 400])
    source = data(tmp_path, num_classes=800, reference_images=200).source()
    label = np.sort(source.label.numpy())
    assert len(np.unique(label)) == 200
    assert [((label >= a) & (label < b)).sum() for a, b in ((0, 300), (300, 400), (400, 800))] == [75, 25, 100]
    assert (label >= 150).any() and label[label < 300].max() >= 128 and label.max() >= 400 + 192
    again = data(tmp_path, num_classes=800, reference_images=200).source()
    assert torch.equal(source.real, again.real) and torch.equal(source.label, again.label)


@pytest.mark.parametrize("counts, most", [([1000], 10), ([1000], 999), ([64, 65, 63, 1, 0, 700], 300), ([3, 3, 3], 100),
                                          ([500, 10], 128), ([129], 128)])
def test_references_hold_what_they_should_and_nothing_twice(counts, most):
    for seekable in (True, False):
        shards = type("Some", (), {"facts": [Facts(count) for count in counts], "seekable": seekable})
        taken = [(piece.shard, piece.first + i) for piece in spread(shards, most) for i in range(piece.count)]
        assert len(set(taken)) == len(taken) == min(most, sum(counts))
        assert all(i < counts[shard] for shard, i in taken)
        for shard, count in enumerate(counts):
            of_it = [i for s, i in taken if s == shard]
            assert abs(len(of_it) - count * min(1, most / sum(counts))) <= 1
            assert seekable or of_it == list(range(len(of_it)))
    assert spread(type("Some", (), {"facts": [Facts(1000)], "seekable": True}), 128) == [Piece(0, 0, 64), Piece(0, 512, 64)]


def test_test_shards(by_hand, tmp_path):
    by_hand.make_shards(tmp_path / "set" / "train", [8])
    by_hand.make_shards(tmp_path / "set" / "val", [3])
    by_hand.make_shards(tmp_path / "other", [5])
    assert [len(data(tmp_path / "set").source(split)) for split in ("train", "test")] == [8, 3]
    assert len(data(tmp_path / "set", test_root=str(tmp_path / "other")).source("test")) == 5
    assert len(data(tmp_path / "set", split="test", batch_size=3).source()) == 3
    with pytest.raises(DataError, match="data.test_root=.*nowhere"):
        data(tmp_path / "set", test_root=str(tmp_path / "nowhere" / "0.tar")).source("test")


# What is found before training

def test_a_set_smaller_than_a_batch(shards):
    with pytest.raises(ConfigError, match=f"data.batch_size=75: the train set has only {N} images"):
        data(shards, batch_size=75).check()


def test_labels_are_checked_before_training(by_hand, tmp_path):
    root = tmp_path / "a"
    paths = by_hand.make_shards(root, [5, 6])
    with pytest.raises(ConfigError, match=f"data.num_classes=10: labels in {paths[1]} are 5 to 10"):
        data(root, num_classes=10).check()
    data(root, num_classes=11).check()
    files = {"x.png": by_hand.encoded(1), "x.cls": b"-1"}
    by_hand.pack(root / "002.tar", files)
    with pytest.raises(ConfigError, match="002.tar are -1 to -1; they must be 0 to num_classes - 1"):
        data(root, num_classes=11).check()
    by_hand.pack(root / "002.tar", {"x.png": by_hand.encoded(1), "y.png": by_hand.encoded(1), "y.cls": b"3"})
    with pytest.raises(DataError, match="002.tar: 1 of its 2 images have no label, but data.num_classes=11"):
        data(root, num_classes=11).check()
    data(root, num_classes=0).check()


def test_shards_without_images(by_hand, tmp_path):
    by_hand.pack(tmp_path / "0.tar", {"a.txt": b"x", "a.cls": b"1"})
    with pytest.raises(DataError, match="its 1 shards hold no images"):
        data(tmp_path).check()


@pytest.mark.parametrize("name, value", [("shards_at_once", 0), ("shuffle", 0), ("reference_images", 0),
                                         ("on_error", "ignore"), ("batch_size", 0), ("split", "val")])
def test_impossible_settings_are_named(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"data.{name}={value}: must be"):
        data(tmp_path, **{name: value})


# Damaged images

@pytest.fixture
def spoilt(by_hand, tmp_path):
    """Shards of 40 images, of which 13 is no image and 27 is cut short."""
    files = [{f"{i:02}.png": by_hand.encoded(i), f"{i:02}.cls": str(i).encode()} for i in range(40)]
    files[13]["13.png"], files[27]["27.png"] = b"no image", files[27]["27.png"][:45]
    for shard in range(4):
        together = {name: content for one in files[10 * shard:10 * shard + 10] for name, content in one.items()}
        by_hand.pack(tmp_path / "spoilt" / f"{shard}.tar", together)
    return tmp_path / "spoilt"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_stops_training_in_one_line(spoilt, workers):
    with pytest.raises(DataError, match=r"1.tar/13.png cannot be read \(not an image\); .*data.on_error=skip"):
        data(spoilt, num_classes=40).check()
    with pytest.raises(DataError, match=r"/(13|27).png cannot be read") as error:
        steps(spoilt, 10, {"num_classes": 40, "workers": workers})
    assert "\n" not in str(error.value)


def test_others_stand_in_for_damaged_images(spoilt, caplog):
    settings = {"num_classes": 40, "on_error": "skip"}
    batches = steps(spoilt, 40, settings)
    label = joined(batches)
    assert not {13, 27} & set(label.tolist())
    for epoch in label.view(4, 40):
        counts = Counter(epoch.tolist())
        assert len(counts) == 38 and sum(counts.values()) == 40             # two are there twice
    assert caplog.text.count("13.png cannot be read (not an image); another image stands in") == 1
    assert same(batches, steps(spoilt, 40, settings | {"workers": 2}))
    for done in (1, 3, 9, 21):
        assert same(batches[done:done + 10], steps(spoilt, 10, settings, start=4 * done))
    set_ = data(spoilt, **settings)
    assert len(set_.source()) == 38 and set(set_.files["train"].unreadable) == {
        f"{spoilt}/1.tar/13.png", f"{spoilt}/2.tar/27.png"}


def test_nothing_readable(by_hand, tmp_path):
    by_hand.pack(tmp_path / "0.tar", {f"{i}.png": b"x" for i in range(8)})
    with pytest.raises(DataError, match="none of 8 images can be read, e.g. .*0.tar/0.png"):
        data(tmp_path, num_classes=0, on_error="skip").check()
    with pytest.raises(DataError, match="neither it nor those around it can be read"):
        steps(tmp_path, 1, {"num_classes": 0, "on_error": "skip"})


def test_the_doctor_looks_at_the_reference(by_hand, tmp_path, spoilt):
    from gan_lightning.doctor.examination import examine

    by_hand.make_shards(tmp_path / "large", [200, 200])
    found = examine(data(tmp_path / "large", num_classes=400, reference_images=128))
    assert found.facts["train"] == "400 images" and found.facts["looked at train"] == "128 of 400, from all over the set"
    found = examine(data(spoilt, num_classes=40))
    (damaged,) = [finding for finding in found.found if finding.topic == "damaged"]
    assert damaged.severity == "problem" and "2 files cannot be read" in damaged.text and "13.png (not an image)" in damaged.text


def test_shards_that_are_whole_are_looked_at_once(monkeypatch, tmp_path):
    """One that is damaged is looked at again, since somebody may have mended it; the others' counts are kept."""
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path))
    looked, broken = [], {1}

    def look(i: int) -> Facts:
        looked.append(i)
        return Facts(0, fault="cut short") if i in broken else Facts(10 + i, 10 + i, 0, i, "", (i, 2 * i))

    found = [look_at_all(["a", "b", "c"], look, {"of": "this test"}, "a set") for _ in range(2)]
    assert looked == [0, 1, 2, 1] and found[0] == found[1] and [fact.fault for fact in found[0]] == ["", "cut short", ""]
    broken.clear()
    mended = look_at_all(["a", "b", "c"], look, {"of": "this test"}, "a set")
    assert [fact.count for fact in mended] == [10, 11, 12] and mended[2].offset == (2, 4)
    assert look_at_all(["a", "b", "c"], look, {"of": "this test"}, "a set") == mended and looked == [0, 1, 2, 1, 1]
