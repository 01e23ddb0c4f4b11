"""Tar shards: found, counted, read from any image on; labels; damage; URLs."""

import json
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import pytest

from gan_lightning.data import tars
from gan_lightning.data.shard_order import Piece
from gan_lightning.data.shards import Facts, Reader
from gan_lightning.data.tars import TarShards
from gan_lightning.data.webdataset import WebDataset, known_counts, list_shards
from gan_lightning.errors import ConfigError, DataError

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def labels(shards: TarShards, shard: int, start: int = 0) -> list[int | None]:
    return [sample.label for sample in shards.read(shard, start)]


@pytest.fixture
def server(tmp_path):
    """Serves `tmp_path` over http: (address, the paths asked for)."""
    asked = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def copyfile(self, source, outputfile):
            try:
                super().copyfile(source, outputfile)
            except (BrokenPipeError, ConnectionResetError):  # who asked has seen enough
                pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}", asked
        served.shutdown()
        thread.join()


# Which shards

@pytest.mark.parametrize("names, train, test", [
    (["b.tar", "a.tar", "notes.txt"], ["a.tar", "b.tar"], []),
    (["train/0.tar", "val/0.tar", "train/1.tgz"], ["train/0.tar", "train/1.tgz"], ["val/0.tar"]),
    (["set-train-000.tar", "set-validation-000.tar", "set-test-1.tar.gz"], ["set-train-000.tar"],
     ["set-test-1.tar.gz", "set-validation-000.tar"]),
    (["contest-0.tar", "latest.tar"], ["contest-0.tar", "latest.tar"], []),
])
def test_shards_of_a_folder(tmp_path, names, train, test):
    root = tmp_path / "test"                            # what lies above the folder says nothing
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert list_shards(str(root), "train") == [str(root / name) for name in train]
    if test:
        assert list_shards(str(root), "test") == [str(root / name) for name in test]
    else:
        with pytest.raises(DataError, match=f"holds no shards for test, but {len(train)} others.*data.test_root"):
            list_shards(str(root), "test")


def test_shards_of_a_pattern(tmp_path, monkeypatch):
    for i in range(12):
        (tmp_path / f"val-{i:02}.tar").touch()
    every = [str(tmp_path / f"val-{i:02}.tar") for i in range(12)]
    monkeypatch.chdir(tmp_path)
    assert list_shards(f"{tmp_path}/val-{{00..11}}.tar", "train") == every
    assert list_shards("val-{00..11}.tar", "train") == every
    assert list_shards("val-*.tar", "train") == every
    assert list_shards("val-00.tar::val-{03,05}.tar", "train") == [every[0], every[3], every[5]]
    assert list_shards("https://host/{0..2}.tar", "train") == [f"https://host/{i}.tar" for i in range(3)]
    assert list_shards("pipe:cat val-{00..01}.tar") == ["pipe:cat val-00.tar", "pipe:cat val-01.tar"]
    with pytest.raises(DataError, match=r"data.root=val-\{00..14\}.tar: 3 of 15 missing, such as .*val-12.tar"):
        list_shards("val-{00..14}.tar", "train")
    with pytest.raises(DataError, match=r"data.root=x\*.tar: no such files"):
        list_shards("x*.tar", "train")
    with pytest.raises(DataError, match="those for test are data.test_root"):
        list_shards("val-*.tar", "test")


# What is in them

@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_counted_and_read_from_any_image_on(by_hand, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(tars, "STRIDE", 4)
    names = list(map(str, by_hand.make_shards(tmp_path, [5, 13, 1], suffix=suffix)))
    shards = TarShards(names, labelled=True)
    assert [fact[:5] for fact in shards.facts] == [(5, 5, 0, 4, ""), (13, 13, 5, 17, ""), (1, 1, 18, 18, "")]
    assert shards.seekable == (suffix == ".tar")
    for start in range(14):
        assert labels(shards, 1, start) == list(range(5 + start, 18))
    for number, sample in enumerate(shards.read(1, 0), start=5):
        assert sample.image == by_hand.encoded(number) and sample.name == f"{names[1]}/{number:04}.png"
    assert [fact.labelled for fact in TarShards(names, labelled=False).facts] == [0, 0, 0]


def test_a_local_shard_is_entered_where_the_image_is(by_hand, tmp_path, monkeypatch):
    """Names of more than 100 characters have headers of their own before the header."""
    monkeypatch.setattr(tars, "STRIDE", 2)
    files = {}
    for i in range(6):
        files[f"{'long' * 40}{i}.png"], files[f"{'long' * 40}{i}.cls"] = by_hand.encoded(i), str(i).encode()
    shards = TarShards([str(by_hand.pack(tmp_path / "a.tar", files))], labelled=True)
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(bytes(shards.facts[0].offset[2]) + content[shards.facts[0].offset[2]:])
    assert labels(shards, 0, 4) == [4, 5] and labels(shards, 0, 5) == [5]   # what lies before is zeros now
    assert labels(shards, 0, 0) == []


def test_a_reader_goes_on_in_the_open_shard(by_hand, tmp_path, monkeypatch):
    shards = TarShards(list(map(str, by_hand.make_shards(tmp_path, [6, 6]))), labelled=True)
    opened, read = [], TarShards.read
    monkeypatch.setattr(TarShards, "read", lambda self, *where: opened.append(where) or read(self, *where))
    reader = Reader(shards)
    pieces = [[Piece(0, 2, 2)], [Piece(0, 4, 2), Piece(1, 0, 3)], [Piece(1, 3, 1)], [Piece(1, 5, 1)]]
    assert [[s.label for s in reader.read(p)] for p in pieces] == [[2, 3], [4, 5, 6, 7, 8], [9], [11]]
    assert opened == [(0, 2), (1, 0), (1, 5)]
    reader.close()


def test_what_is_known_is_kept_until_a_shard_changes(by_hand, tmp_path, monkeypatch):
    names = list(map(str, by_hand.make_shards(tmp_path, [4, 200])))
    looks, look = [], TarShards._look
    monkeypatch.setattr(TarShards, "_look", lambda self, shard: looks.append(shard) or look(self, shard))
    first = TarShards(names, labelled=True).facts
    assert TarShards(names, labelled=True).facts == first and sorted(looks) == [0, 1] and len(first[1].offset) == 4
    by_hand.make_shards(tmp_path, [5])
    assert [fact.count for fact in TarShards(names, labelled=True).facts] == [5, 200]
    assert len(looks) == 4


SAMPLES = {
    "cls": ({"a.cls": b" 3\n"}, 3),
    "before": ({"a.cls": b"7", "a.jpg": None}, 7),
    "json": ({"a.json": b'{"label": 4, "text": "x"}'}, 4),
    "both": ({"a.json": b'{"label": 4}', "a.cls": b"5"}, 5),
    "whole": ({"a.json": b'{"label": 2.0}'}, 2),
    "none": ({"a.txt": b"a caption"}, None),
    "other field": ({"a.json": b'{"class": 4}'}, None),
    "upper case": ({"a.CLS": b"1"}, 1),
}


@pytest.mark.parametrize("files, label", SAMPLES.values(), ids=SAMPLES)
def test_labels(by_hand, tmp_path, files, label):
    files = {"a.jpg": by_hand.encoded(0, "jpg")} | files if "a.jpg" not in files else files
    files = {name: by_hand.encoded(0, "jpg") if content is None else content for name, content in files.items()}
    shards = TarShards([str(by_hand.pack(tmp_path / "a.tar", files))], labelled=True)
    assert labels(shards, 0) == [label]
    assert shards.facts[0][:2] == (1, label is not None)


def test_label_key(by_hand, tmp_path):
    name = str(by_hand.pack(tmp_path / "a.tar", {"a.png": by_hand.encoded(0), "a.json": b'{"label": 4, "kind": 6}'}))
    assert labels(TarShards([name], labelled=True, label_key="kind"), 0) == [6]
    assert labels(TarShards([name], labelled=True), 0) == [4]


@pytest.mark.parametrize("name, content", [("a.cls", b"cat"), ("a.json", b"[1]"), ("a.json", b'{"label": 1.5}'),
                                           ("a.json", b"{"), ("a.json", b'{"label": "cat"}')])
def test_labels_that_are_none(by_hand, tmp_path, name, content):
    shard = str(by_hand.pack(tmp_path / "a.tar", {"a.png": by_hand.encoded(0), name: content}))
    with pytest.raises(DataError, match=f"{shard}/a: its label is not a whole number .*data.num_classes=0") as error:
        TarShards([shard], labelled=True)
    assert "\n" not in str(error.value)
    assert TarShards([shard], labelled=False).facts[0].count == 1


def test_which_file_is_the_image(by_hand, tmp_path):
    image = by_hand.encoded(1)
    files = {"__meta__": b"", "a.txt": b"no image", "b.png": image, "b.mask.png": b"x", "c.small.png": image,
             "dir/d.JPEG": image, "._e.png": b"x"}
    shards = TarShards([str(by_hand.pack(tmp_path / "a.tar", files))], labelled=False)
    assert [sample.name.partition("a.tar/")[2] for sample in shards.read(0, 0)] == ["b.png", "c.small.png", "dir/d.jpeg"]
    assert shards.facts[0].count == 3
    dotted = {"0.25.png": image, "0.75.png": image}
    with pytest.raises(DataError, match=r"a.tar/0 has 2 images \(25.png, 75.png\): what comes before the first dot"):
        TarShards([str(by_hand.pack(tmp_path / "a.tar", dotted))], labelled=False)


# Damage

def cut_in_a_label(content: bytes) -> bytes:
    return content[:9 * 1024 + 600]                     # each image takes 2 kB, and each label's file the second of them


def cut_in_a_header(content: bytes) -> bytes:
    return content[:8 * 1024 + 100]


def overwritten(content: bytes) -> bytes:
    return content[:8 * 1024] + b"x" * 2048 + content[10 * 1024:]


@pytest.mark.parametrize("damage, count", [(cut_in_a_label, 4), (cut_in_a_header, 3), (overwritten, 3),
                                           (lambda content: b"no tar at all", 0), (lambda content: b"", 0)])
def test_a_damaged_tar_is_found_before_training(by_hand, tmp_path, damage, count, caplog):
    """What comes directly before the damage may be half an image, and does not count."""
    whole, bad = by_hand.make_shards(tmp_path, [3, 7])
    bad.write_bytes(damage(bad.read_bytes()))
    settings = {"root": str(tmp_path), "resolution": 8, "channels": 1, "batch_size": 3, "num_classes": 10, "workers": 0}
    with pytest.raises(DataError, match=rf"{bad} cannot be read beyond image {count} \(.+\); .*data.on_error=skip"):
        WebDataset(**settings).check()
    data = WebDataset(**settings, on_error="skip")
    data.check()
    assert data.count() == 3 + count and f"{bad} cannot be read beyond" in caplog.text
    batch = next(iter(data.loader(batches_per_step=data.count() // 3, seed=0)))
    assert len(set(batch["label"].tolist())) == data.count() // 3 * 3


def test_a_shard_that_lost_images_since_it_was_counted(by_hand, tmp_path):
    (path,) = by_hand.make_shards(tmp_path, [9])
    shards = TarShards([str(path)], labelled=True)
    by_hand.make_shards(tmp_path, [6])
    with pytest.raises(DataError, match="holds 6 images, not 9 as when they were counted.*remove .*shards-"):
        Reader(shards).read([Piece(0, 2, 7)])


# Beyond the disk

@needs_curl
def test_shards_behind_urls(by_hand, tmp_path, server, monkeypatch):
    url, asked = server
    names = [path.name for path in by_hand.make_shards(tmp_path, [5, 300, 4])]
    far = TarShards([f"{url}/{name}" for name in names], labelled=True)
    near = TarShards([str(tmp_path / name) for name in names], labelled=True)
    assert [fact[:5] for fact in far.facts] == [fact[:5] for fact in near.facts] and not far.seekable
    assert sorted(asked) == [f"/{name}" for name in names]
    for start in (0, 3, 260):
        assert labels(far, 1, start) == labels(near, 1, start)
    far.read(1, 0).close()
    assert next(far.read(1, 5)).label == 10             # and the rest is not waited for
    count = len(asked)
    assert TarShards(far.names, labelled=True).facts == far.facts and len(asked) == count


@needs_curl
def test_streams_of_urls_equal_those_of_files(by_hand, tmp_path, server):
    url, _ = server
    by_hand.make_shards(tmp_path, [9, 4, 11, 6, 10])
    common = {"resolution": 8, "channels": 1, "num_classes": 40, "batch_size": 4, "shards_at_once": 2, "shuffle": 6}
    batches = [list(islice(WebDataset(root=root, workers=workers, **common).loader(
                   batches_per_step=1, seed=0, start=12, rank=1, world_size=2), 12))
               for root, workers in ((str(tmp_path), 0), (f"{url}/{{000..004}}.tar", 2))]
    assert all((a["label"] == b["label"]).all() and (a["real"] == b["real"]).all() for a, b in zip(*batches, strict=True))


@needs_curl
@pytest.mark.parametrize("path, reason", [("nowhere.tar", "the server does not hand it out"), ("text.tar", "")])
def test_a_url_without_a_tar(tmp_path, server, path, reason, monkeypatch, by_hand):
    monkeypatch.setattr(tars, "PAUSES", (0.0,))
    (tmp_path / "text.tar").write_text("no tar" * 1000)
    data = WebDataset(root=f"{server[0]}/{path}", resolution=8, channels=1)
    with pytest.raises(DataError, match=rf"{path} cannot be read beyond image 0 \(.*{reason}"):
        data.check()


@needs_curl
def test_no_server(by_hand, monkeypatch):
    monkeypatch.setattr(tars, "PAUSES", (0.0,))
    data = WebDataset(root="http://127.0.0.1:9/a.tar", resolution=8, channels=1)
    with pytest.raises(DataError, match="a.tar cannot be read beyond image 0 .no connection"):
        data.check()


def test_a_transfer_that_breaks_off_is_begun_again(by_hand, tmp_path, monkeypatch):
    """The command breaks off in the sixth of twenty images until it has been started for the third time."""
    monkeypatch.setattr(tars, "PAUSES", (0.0, 0.0))
    (path,) = by_hand.make_shards(tmp_path, [20])
    tries = tmp_path / "tries"
    tries.write_text("x" * 9)
    command = (f"pipe:printf x >> {tries}; if [ $(wc -c < {tries}) -lt 3 ]; "
               f"then head -c 11800 {path}; exit 9; else cat {path}; fi")
    shards = TarShards([command], labelled=True)        # counted while it works
    tries.write_text("")
    assert labels(shards, 0, 1) == list(range(1, 20)) and tries.read_text() == "xxx"
    hopeless = TarShards([f"pipe:head -c 11800 {path}; exit 9"], labelled=True, count=[20])
    with pytest.raises(DataError, match=r"cannot be read beyond image \d .its command ended with code 9"):
        labels(hopeless, 0, 1)


def test_a_broken_transfer_is_not_taken_for_the_whole(by_hand, tmp_path, monkeypatch):
    """Cut between two images, which no reader of tars can tell from an end; at the third try, all of it comes."""
    (path,) = by_hand.make_shards(tmp_path, [20])
    cut = f"pipe:printf x >> {tmp_path}/tries; head -c 8192 {path}; exec 1>&-; sleep 0.2; exit 9"
    monkeypatch.setattr(tars, "PAUSES", (0.0, 0.0))
    assert TarShards([cut], labelled=True).facts[0] == Facts(0, fault="its command ended with code 9")
    assert (tmp_path / "tries").read_text() == "xxx"
    mended = cut.replace("head", f"[ $(wc -c < {tmp_path}/tries) -gt 5 ] && exec cat {path}; head")
    assert TarShards([mended], labelled=True).facts[0][:5] == (20, 20, 0, 19, "")
    assert (tmp_path / "tries").read_text() == "xxxxxx"


def test_a_known_number_of_images_saves_the_first_pass(by_hand, tmp_path, monkeypatch):
    paths = by_hand.make_shards(tmp_path, [5, 8])
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"__kind__": "wids-shard-index-v1", "shardlist": [
        {"url": "000.tar", "nsamples": 5}, {"url": "elsewhere/001.tar", "nsamples": 8}]}))
    monkeypatch.setattr(TarShards, "_look", None)
    data = WebDataset(root=f"{tmp_path}/{{000..001}}.tar", index=str(index), resolution=8, channels=1, num_classes=13)
    assert data.count() == 13 and not data.shards().seekable
    assert sorted(data.source().label.tolist()) == list(range(13))
    few = WebDataset(root=f"{tmp_path}/{{000..001}}.tar", index=str(index), resolution=8, channels=1, num_classes=7,
                     batch_size=2, workers=0)
    with pytest.raises(ConfigError, match="data.num_classes=7: .*001.tar/00.*.png has label"):
        few.check()
    with pytest.raises(ConfigError, match="data.num_classes=7: .*001.tar/00.*.png has label"):
        list(islice(few.loader(batches_per_step=1, seed=0), 7))
    by_hand.make_shards(tmp_path, [5, 8], labelled=False)
    with pytest.raises(DataError, match="0000.png has no label, but data.num_classes=13"):
        WebDataset(root=str(tmp_path), index=str(index), resolution=8, channels=1, num_classes=13, batch_size=4).check()
    with pytest.raises(DataError, match="does not know 1 of 3 shards, such as 2.tar"):
        known_counts(str(index), ["000.tar", "001.tar", "2.tar"])
    with pytest.raises(DataError, match="several are called 000.tar; leave data.index out"):
        known_counts(str(index), ["a/000.tar", "b/000.tar"])
    index.write_text("{}")
    with pytest.raises(DataError, match="cannot be read as an index of shards .*nsamples"):
        known_counts(str(index), [str(path) for path in paths])


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(ConfigError, match=r"pip install 'gan_lightning\[webdataset\]'"):
        WebDataset(root="x", resolution=8, channels=1)
