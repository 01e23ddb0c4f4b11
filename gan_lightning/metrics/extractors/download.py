"""Files of weights: found on disk or downloaded, and known by their sha256."""

import hashlib
import io
import logging
import pickle
import threading
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gan_lightning.checkpoint import write_atomically
from gan_lightning.errors import UserError

log = logging.getLogger("gan_lightning")
_CHUNK = 1 << 20


class WeightsMissing(UserError):
    """Published weights are neither on this machine nor to be had from it."""


def hub_folder() -> Path:
    """Where PyTorch keeps downloaded weights; the environment variable TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: Exception) -> str:
    """An error of the network or the disk in a few words, on one line."""
    inner = getattr(error, "reason", None) or error  # urllib wraps what happened
    return " ".join(str(inner).split()) or type(error).__name__


def download(url: str, path: Path, sha256: str, seconds: float = 15.0) -> None:
    """Fetches `url` to `path`, which appears whole and with this sha256, or not at all.

    Raises:
        OSError: no connection within `seconds`, or as long without a byte; something else arrived; a full disk.
    """
    log.info("downloading %s to %s", url, path)
    try:
        with _opened(url, seconds) as response:
            write_atomically(path, lambda file: _copy(response, file, sha256))
    except HTTPException as error:  # cut short
        raise OSError(reason(error)) from error


def _opened(url: str, seconds: float) -> HTTPResponse:
    """`urlopen` which is done within `seconds`: its own timeout does not cover a name server that never answers."""
    answer: list[Any] = []

    def connect() -> None:
        try:
            answer.append(urllib.request.urlopen(url, timeout=seconds))  # noqa: S310 - constants of this package
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            answer.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer:
        raise TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(answer[0], Exception):
        raise answer[0]
    return answer[0]


def _copy(response: HTTPResponse, file: BinaryIO, sha256: str) -> None:
    found = hashlib.sha256()
    while chunk := response.read(_CHUNK):
        found.update(chunk)
        file.write(chunk)
    if found.hexdigest() != sha256:
        raise OSError(f"what arrived has the sha256 {found.hexdigest()}")


def read_state(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """The state dict in a file of this sha256, floats as float32; nothing in the file is executed.

    Raises:
        UserError: the file is gone, has changed since its sha256 was taken, or holds no state dict.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(f"{path} has the sha256 {found}, but {sha256} was agreed on: it has changed, or is another "
                        f"file on this machine; put the same file on all machines")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, ValueError, KeyError) as error:
        raise UserError(f"{path} holds no weights that PyTorch can read safely (a state dict of tensors)") from error
