"""Downloads from a server of our own: whole and right, or an error at once and no file."""

import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from gan_lightning.errors import UserError
from gan_lightning.metrics.extractors.download import WeightsMissing, download, file_sha256, read_state, reason

CONTENT = bytes(range(256)) * 9000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100_000] if self.path == "/cut" else CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download(server, tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    download(f"{server}/file", path, SHA256)
    assert path.read_bytes() == CONTENT
    assert file_sha256(path) == SHA256
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("page, message", [("missing", "404|Not Found"), ("cut", "sha256"), ("file", "sha256")])
def test_anything_else_leaves_no_file(server, tmp_path, page, message):
    with pytest.raises(OSError, match=message) as caught:
        download(f"{server}/{page}", tmp_path / "file", "0" * 64 if page == "file" else SHA256)
    assert "\n" not in reason(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_there_survives_a_failed_download(server, tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError):
        download(f"{server}/cut", tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_text() == "old"


def test_nobody_listens(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        download(f"http://127.0.0.1:{port}/file", tmp_path / "file", SHA256)


def test_nobody_answers(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        with pytest.raises(OSError):
            download(f"http://127.0.0.1:{silent.getsockname()[1]}/file", tmp_path / "file", SHA256, seconds=0.2)
        assert time.monotonic() - begin < 10


def test_reason_is_what_happened():
    assert reason(TimeoutError("no answer\nwithin 15 s")) == "no answer within 15 s"
    assert reason(OSError()) == "OSError"


def test_weights_missing_is_shown_as_one_line():
    assert issubclass(WeightsMissing, UserError)


def saved(path, content):
    torch.save(content, path)
    return file_sha256(path)


def test_state_is_float32(tmp_path):
    path = tmp_path / "state.pth"
    sha256 = saved(path, {"a": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)})
    state = read_state(path, sha256)
    assert state["a"].dtype == torch.float32 and state["n"].dtype == torch.int64


class Payload:
    """What a malicious file holds: unpickling it calls a function."""

    def __reduce__(self):
        return open, ("executed", "w")


@pytest.mark.parametrize("content", [b"", b"garbage", Payload(), [torch.ones(2)], {"a": 1}], ids=["empty", "garbage", "payload", "list", "numbers"])
def test_no_state(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
        sha256 = file_sha256(path)
    else:
        sha256 = saved(path, content)
    with pytest.raises(UserError, match="no weights that PyTorch can read safely") as caught:
        read_state(path, sha256)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_changed(tmp_path):
    path = tmp_path / "state.pth"
    sha256 = saved(path, {"a": torch.ones(2)})
    saved(path, {"a": torch.zeros(2)})
    with pytest.raises(UserError, match="changed, or is another"):
        read_state(path, sha256)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_state(path, sha256)
