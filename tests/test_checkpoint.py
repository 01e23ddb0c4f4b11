import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from gan_lightning.checkpoint import (
    DamagedCheckpoint,
    checkpoints_in,
    locate,
    newest_run,
    read_checkpoint,
    replace_by_link,
    write_atomically,
)
from gan_lightning.errors import CheckpointError


def saved(path, **content):
    write_atomically(path, lambda file: torch.save({"gan_lightning": {"format": 1, "version": "0"}} | content, file))
    return path


def test_round_trip(tmp_path):
    path = saved(tmp_path / "deep" / "a.ckpt", x=torch.ones(3))
    assert torch.equal(read_checkpoint(path)["x"], torch.ones(3))
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = saved(tmp_path / "a.ckpt", x=1)

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert read_checkpoint(path)["x"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    """SIGKILL at any moment of an overwrite leaves a whole file, the old or the new one."""
    path = saved(tmp_path / "a.ckpt", x=torch.zeros(2_000_000))
    program = (
        "import sys, torch; from gan_lightning.checkpoint import write_atomically\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    content = {'gan_lightning': {'format': 1, 'version': '0'}, 'x': torch.zeros(2_000_000)}\n"
        "    write_atomically(sys.argv[1], lambda file: torch.save(content, file))\n"
    )
    for delay in (0.005, 0.02, 0.035, 0.06):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len(read_checkpoint(path)["x"]) == 2_000_000


def flip_a_bit(content: bytes) -> bytes:
    """In the middle of the tensor, where torch.load would not notice."""
    at = content.index(torch.ones(9).numpy().tobytes()) + 400
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]


@pytest.mark.parametrize("make, message", [
    (lambda p: p.write_bytes(b""), "not a whole checkpoint"),
    (lambda p: p.write_bytes(b"hello"), "not a whole checkpoint"),
    (lambda p: p.write_bytes(saved(p).read_bytes()[:-200]), "not a whole checkpoint"),
    (lambda p: p.write_bytes(flip_a_bit(saved(p, x=torch.ones(999)).read_bytes())), r"data/0 is damaged|not a whole"),
    (lambda p: torch.save({"state_dict": {}}, p), "not a checkpoint of gan_lightning"),
    (lambda p: torch.save(torch.nn.Linear(1, 1), p), "not a checkpoint of gan_lightning"),  # would run code
    (lambda p: torch.save({"gan_lightning": {"format": 99, "version": "9.9"}}, p), r"newer gan_lightning \(9.9\)"),
])
def test_what_is_not_a_checkpoint(tmp_path, make, message):
    path = tmp_path / "a.ckpt"
    make(path)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_locate(tmp_path):
    path = saved(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert locate(path) == locate(tmp_path / "run") == locate(path.parent) == path
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        locate(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        locate(tmp_path / "nowhere")


def test_newest_run(tmp_path):
    assert newest_run(tmp_path / "new") is None
    a, b = (saved(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("a", "b"))
    os.utime(b, (1, 1))
    assert newest_run(tmp_path / "new") == tmp_path / "a"


def test_the_order_in_which_checkpoints_are_tried(tmp_path):
    names = ["best", "healthy", "kimg_000002.000", "kimg_000010.500", "last", "previous"]
    assert checkpoints_in(tmp_path) == []
    for name in names:
        saved(tmp_path / "checkpoints" / f"{name}.ckpt")
    tried = ["last", "previous", "kimg_000010.500", "kimg_000002.000", "best", "healthy"]
    assert [path.stem for path in checkpoints_in(tmp_path)] == tried
    assert checkpoints_in(tmp_path / "checkpoints") == checkpoints_in(tmp_path)
    assert checkpoints_in(tmp_path / "checkpoints" / "last.ckpt") == []  # a file is that file


def test_damage_is_told_from_foreign_files(tmp_path):
    path = saved(tmp_path / "a.ckpt", x=torch.ones(999))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DamagedCheckpoint):
        read_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert not isinstance(error.value, DamagedCheckpoint)  # no reason to put another in its place


@pytest.mark.parametrize("links", [True, False])
def test_replace_by_link(tmp_path, monkeypatch, links):
    if not links:
        def no_links(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
    a, b, c = (saved(tmp_path / f"{name}.ckpt", x=name) for name in "abc")
    replace_by_link(a, b)
    replace_by_link(a, b)  # the same file already
    os.replace(c, a)
    assert (read_checkpoint(a)["x"], read_checkpoint(b)["x"]) == ("c", "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "b.ckpt"]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [50, 3_000, 300_000])
def test_a_full_disk(tmp_path, limit):
    """The system refuses to write more than `limit` bytes: an OSError, though torch raises something else, and the old
    file is what it was."""
    path = saved(tmp_path / "a.ckpt", x=torch.zeros(100_000))
    before = path.read_bytes()
    program = (
        "import resource, sys, torch; from gan_lightning.checkpoint import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "content = {'gan_lightning': {'format': 1, 'version': '0'}, 'x': torch.ones(100_000), 'y': list(range(9999))}\n"
        "try:\n"
        "    write_atomically(sys.argv[1], lambda file: torch.save(content, file))\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path), str(limit)], capture_output=True, text=True)
    assert done.stdout == "File too large\n", done.stderr
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
