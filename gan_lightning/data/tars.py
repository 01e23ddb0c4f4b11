"""Shards in the format of WebDataset: tar files in which the files of a sample follow each other under one name.

Aizman et al. 2020, "High performance I/O for large scale deep learning", arXiv:2001.01858.
"""

import json
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from gan_lightning.data.shards import Facts, Sample, look_at_all
from gan_lightning.errors import ConfigError, DataError

IMAGES = ("jpg", "jpeg", "png", "webp")
PACKED = (".tar.gz", ".tgz")                            # these can only be read from the front
STRIDE = 64                                             # images between known places in a local shard
PAUSES = (1.0, 4.0, 16.0)                               # seconds before a broken transfer is tried again
META = re.compile(r"__[^/]*__($|/)")                    # files that webdataset takes for no samples
NO_TAR = (tarfile.TarError, EOFError, ValueError, OSError)
REFUSED = 22                                            # curl's code for an answer that says no; it has tried again
CURL = {6: "host not found", 7: "no connection", 18: "the transfer broke off", 28: "no answer in time",
        REFUSED: "the server does not hand it out"}


def library() -> Any:
    """The package webdataset. Raises ConfigError if it is missing."""
    try:
        import webdataset
        import webdataset.shardlists
        import webdataset.tariterators
    except ImportError as error:
        raise ConfigError("data=webdataset needs the package webdataset: "
                          "pip install 'gan_lightning[webdataset]'") from error
    return webdataset


def is_remote(shard: str) -> bool:
    """Whether a shard is a URL, or a command that puts one out."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", shard) is not None


class TarShards:
    """Tar files, local or behind URLs, which webdataset opens: by curl for http(s), by a shell for pipe:, ...

    Args:
        labelled: whether labels are wanted: the number in a sample's .cls, else the field `label_key` of its .json.
        count: of images in each shard, if it is known; else each shard is looked at, once.
    """

    def __init__(self, names: list[str], labelled: bool, label_key: str = "label", count: list[int] | None = None,
                 title: str = "webdataset") -> None:
        self.names, self.labelled, self.label_key = names, labelled, label_key
        self.seekable = count is None and all(map(_seekable, names))
        made_of = {"format": "tar 1", "shards": [_stamp(name) for name in names], "labelled": labelled,
                   "label_key": label_key, "stride": STRIDE}
        self.facts = [Facts(n) for n in count] if count else look_at_all(names, self._look, made_of, title)

    def read(self, shard: int, start: int) -> Iterator[Sample]:
        """The samples from number `start` on. A transfer that breaks off is begun again as long as that brings more."""
        name, place, failed = self.names[shard], start, 0
        while True:
            before = place
            try:
                for sample in self._samples(name, self.facts[shard].offset, place):
                    place += 1
                    yield sample
                return
            except NO_TAR as error:
                failed = 1 if place > before else failed + 1
                if failed > len(PAUSES) or not isinstance(error, _Broken):
                    raise DataError(f"{name} cannot be read beyond image {place:,} ({_reason(error)})") from error
            time.sleep(PAUSES[failed - 1])

    def _samples(self, name: str, offset: tuple[int, ...], start: int) -> Iterator[Sample]:
        with _opened(name) as stream:
            if offset:
                stream.file.seek(offset[start // STRIDE])
                start %= STRIDE
            for sample, image in islice(_with_images(stream.files()), start, None):
                label = self._label(sample) if self.labelled else None
                yield Sample(sample[image], f"{name}/{sample['__key__']}.{image}", label)
            stream.check()

    def _label(self, sample: dict[str, Any]) -> int | None:
        try:
            if "cls" in sample:
                return int(sample["cls"])
            found = json.loads(sample["json"]).get(self.label_key) if "json" in sample else None
            if found is not None and int(found) != float(found):
                raise ValueError(f"it is {found}")
            return None if found is None else int(found)
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{sample['__url__']}/{sample['__key__']}: its label is not a whole number ({error}); mend "
                            "it, or choose data.num_classes=0 for no labels") from error

    def _look(self, shard: int) -> Facts:
        for pause in (*PAUSES, None):
            try:
                return self._count(self.names[shard])
            except _Broken as error:
                fault = str(error)
            if pause is not None:
                time.sleep(pause)
        return Facts(0, fault=fault)

    def _count(self, name: str) -> Facts:
        """Counts a shard's images and reads its labels; of a local one, nothing else is read."""
        count, labels, offset, fault = 0, [], [], ""
        try:
            with _opened(name) as stream:
                for sample, _ in _with_images(stream.headers() if _seekable(name) else stream.files()):
                    if _seekable(name) and count % STRIDE == 0:
                        offset.append(min(file.offset for file in sample.values() if isinstance(file, _File)))
                    label = self._label(sample) if self.labelled else None
                    labels += [] if label is None else [label]
                    count += 1
                stream.check()
        except _Broken:
            raise
        except NO_TAR as error:
            fault = _reason(error)
        return Facts(count, len(labels), min(labels, default=0), max(labels, default=-1), fault, tuple(offset))


class _Broken(OSError):
    """A program that was to put out a shard has failed; begun again, it may not."""


class _File(bytes):
    """A file in a tar: what is in it, if that is wanted, and where its header begins."""

    offset: int = 0


class _Stream:
    """An opened shard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file: BinaryIO = library().gopen(name)
        self.process: subprocess.Popen | None = getattr(self.file, "proc", None)

    def files(self) -> Iterator[dict[str, Any]]:
        """Name and content of each file, as webdataset has them."""
        return library().tariterators.tar_file_expander([{"url": self.name, "stream": self.file}])

    def headers(self) -> Iterator[dict[str, Any]]:
        """The same for a local shard, with empty contents but for labels; damage anywhere is an error."""
        with tarfile.open(fileobj=self.file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []                        # else it remembers them all
                if member.isreg() and not META.match(member.name):
                    wanted = member.name.lower().endswith((".cls", ".json"))
                    file = _File(tar.extractfile(member).read() if wanted else b"")
                    file.offset = member.offset
                    yield {"fname": member.name, "data": file, "__url__": self.name}
            self.file.seek(tar.offset)
            if any(self.file.read(tarfile.BLOCKSIZE)):  # it must be zeros, or nothing
                raise tarfile.ReadError(f"no tar header at byte {tar.offset:,}")

    def check(self) -> None:
        """Raises _Broken if this was the output of a program that then failed: what came may not be all."""
        if self.process is not None:
            self.file.stream.read()
            self.process.wait()
            self.blame()

    def blame(self) -> None:
        """Raises _Broken if there is a program, and it has failed or does so now; OSError if it always will."""
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            status = self.process.wait(0.2)
            if status and self.name.startswith("http"):
                raise (OSError if status == REFUSED else _Broken)(CURL.get(status, f"curl ended with code {status}"))
            if status:
                raise _Broken(f"its command ended with code {status}")

    def close(self) -> None:
        if self.process is None:
            self.file.close()
            return
        self.file.stream.close()
        if self.process.poll() is None:
            self.process.terminate()                    # nobody reads on
        self.process.wait()


@contextmanager
def _opened(name: str) -> Iterator[_Stream]:
    stream = _Stream(name)
    try:
        yield stream
    except NO_TAR:
        stream.blame()                                  # then that is why
        raise
    finally:
        stream.close()


def _with_images(files: Iterator[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Samples that have an image, and what it is called in them."""
    for sample in library().tariterators.group_by_keys(files):
        image = next((kind for kind in IMAGES if kind in sample), None)
        if image is None:
            found = [kind for kind in sample if kind.rpartition(".")[2] in IMAGES]
            if len(found) > 1:
                raise DataError(f"{sample['__url__']}/{sample['__key__']} has {len(found)} images "
                                f"({', '.join(found)}): what comes before the first dot in a name must tell samples "
                                "apart")
            image = found[0] if found else None
        if image is not None:
            yield sample, image


def _seekable(name: str) -> bool:
    return not is_remote(name) and not name.endswith(PACKED)


def _stamp(name: str) -> list[Any]:
    """What changes if a shard does, as far as can be told without reading it."""
    if is_remote(name):
        return [name]
    status = Path(name).stat()
    return [str(Path(name).absolute()), status.st_size, status.st_mtime_ns]


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError) and error.filename == "curl":
        return "the program curl, which reads URLs, is not installed"
    text = str(error.args[0]) if error.args else ""
    return " ".join(text.split())[:200] or type(error).__name__
