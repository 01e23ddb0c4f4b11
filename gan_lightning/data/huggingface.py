"""Data sets of the Hugging Face Hub, or folders in the formats that its library reads, streamed: `data=huggingface`."""

import glob
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

from gan_lightning.data.base import Split
from gan_lightning.data.shards import Facts, Sample, look_at_all
from gan_lightning.data.streamed import StreamedData
from gan_lightning.errors import ConfigError, DataError
from gan_lightning.metrics.cache import digest

ROWS = 16                                               # that are taken from a shard together
COUNTED = 1000                                          # the same, while they are only counted


def library() -> Any:
    """The package datasets. Raises ConfigError if it is missing."""
    try:
        import datasets
    except ImportError as error:
        raise ConfigError("data=huggingface needs the package datasets: "
                          "pip install 'gan_lightning[huggingface]'") from error
    return datasets


class HuggingFace(StreamedData):
    """What `datasets.load_dataset(path, name, streaming=True)` finds; each of its files is a shard.

    Args:
        path: a name on the hub, a folder (parquet, arrow, a folder per class, WebDataset), or what `save_to_disk` made.
        name: of a configuration. revision: of a set on the hub.
        train_split, test_split: what the set calls our splits.
        image_key, label_key: columns; None: the only one of its kind.
    """

    def __init__(self, path: str, name: str | None = None, revision: str | None = None, train_split: str = "train",
                 test_split: str = "test", image_key: str | None = None, label_key: str | None = None,
                 **loading) -> None:
        super().__init__(**loading)
        library()
        self.path, self.name, self.revision = path, name, revision
        self.splits = {"train": train_split, "test": test_split}
        self.image_key, self.label_key = image_key, label_key

    @property
    def title(self) -> str:
        return self.path

    def open_shards(self, split: Split) -> "HubShards":
        dataset, files = self._open(split)
        features = dataset.features or {}
        image = self._column(features, "image_key", [_is_image, _is_file])
        label = self._column(features, "label_key", [_is_class, _is_integer]) if self.num_classes else None
        if label and _is_class(features[label]):
            self.labels(None, features[label].num_classes)
        return HubShards(dataset, image, label, files, f"{self.path} ({split})")

    def _open(self, split: Split) -> tuple[Any, list[str]]:
        """The streamed split, and the files that it is made of."""
        path = Path(self.path).expanduser()
        if not path.exists() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.path):
            raise DataError(f"data.path={self.path} does not exist; give a folder, or the name of a set on the hub")
        arguments = {"path": str(path) if path.exists() else self.path, "name": self.name, "revision": self.revision}
        if any((path / mark).exists() for mark in ("state.json", "dataset_dict.json")):  # made by save_to_disk
            folders = {folder.name: folder for folder in path.iterdir() if (folder / "state.json").exists()}
            files = {name: _saved(folder) for name, folder in (folders or {"train": path}).items()}
            arguments = {"path": "arrow", "data_files": files}
        with _quiet():
            try:
                if not path.exists():
                    _ask_hub(self.path, self.revision)
                builder = library().load_dataset_builder(**arguments)
                dataset = builder.as_streaming_dataset(split=self.splits[split])
            except Exception as error:  # noqa: BLE001 - no network; no such name, configuration or split; damage
                raise DataError(f"data.path={self.path}: {self.splits[split]} cannot be opened ({_line(error)}); give "
                                "a folder, or the name of a set on the hub (which needs a network), and see data.name, "
                                "data.train_split and data.test_split") from error
        return dataset, list((builder.config.data_files or {}).get(self.splits[split], []))

    def _column(self, features: dict[str, Any], option: str, kinds: list[Callable[[Any], bool]]) -> str:
        """The column that `option` names, or the only one of the first of these kinds that there is."""
        key = getattr(self, option)
        groups = [[name for name, feature in features.items() if kind(feature)] for kind in kinds]
        if key is not None and any(key in group for group in groups):
            return key
        found = next(filter(None, groups), [])
        if key is None and len(found) == 1:
            return found[0]
        what = "images" if option == "image_key" else "labels, which are whole numbers"
        can = f"choose one of {', '.join(sum(groups, []))}" if found else "there is none"
        none = "" if option == "image_key" else ", or data.num_classes=0 for no labels"
        raise ConfigError(f"data.{option}={'null' if key is None else key}: must name a column of {what}; {can}{none} "
                          f"(the columns of {self.path} are {', '.join(features)})")


class HubShards:
    """The shards of a streamed dataset.

    Args:
        files: that it is made of; each is a shard, or there is one shard of all.
    """

    seekable = False                                    # whole files can be skipped, but nothing within

    def __init__(self, dataset: Any, image_key: str, label_key: str | None, files: list[str], title: str) -> None:
        self.image_key, self.label_key = image_key, label_key
        columns = [image_key] + ([label_key] if label_key else [])
        self.dataset = dataset.select_columns(columns).cast_column(image_key, library().Image(decode=False))
        n = dataset.num_shards
        self.names = files if len(files) == n else [f"{title}, part {i + 1} of {n}" for i in range(n)]
        made_of = {"format": "huggingface 1", "title": title, "label_key": label_key, "names": self.names,
                   "files": digest([_stamp(file) for file in files]), "features": str(dataset.features)}
        self.facts = look_at_all(self.names, self._look, made_of, title)

    def read(self, shard: int, start: int) -> Iterator[Sample]:
        number, rest = start, self._shard(shard).skip(start)
        try:
            for rows in rest.iter(ROWS):                # by its __iter__, each worker would get rows of its own
                labels = rows[self.label_key] if self.label_key else repeat(None)
                for image, label in zip(rows[self.image_key], labels, strict=False):
                    known = None if label is None or label < 0 else label
                    yield Sample(*_content(image, f"{self.names[shard]}, image {number + 1}"), known)
                    number += 1
        except (OSError, ValueError) as error:
            raise DataError(f"{self.names[shard]} cannot be read beyond image {number:,} ({_line(error)})") from error

    def _shard(self, shard: int) -> Any:
        return self.dataset.shard(num_shards=len(self.names), index=shard)

    def _look(self, shard: int) -> Facts:
        """Counts a shard's images and reads its labels."""
        name, count, labels = self.names[shard], 0, []
        try:
            if name.endswith(".parquet"):               # which says how many, and can be read by columns
                count, labels = _look_at_parquet(name, self.label_key)
            else:
                for rows in self._shard(shard).iter(COUNTED):
                    count += len(rows[self.image_key])
                    labels += rows[self.label_key] if self.label_key else []
        except (OSError, ValueError) as error:
            return Facts(count, fault=_line(error))
        labels = [label for label in labels if label is not None and label >= 0]
        return Facts(count, len(labels), min(labels, default=0), max(labels, default=-1))


def _look_at_parquet(name: str, label_key: str | None) -> tuple[int, list[int | None]]:
    import fsspec
    from pyarrow.parquet import ParquetFile

    with fsspec.open(name, "rb") as stream:
        file = ParquetFile(stream)
        labels = file.read(columns=[label_key])[label_key].to_pylist() if label_key else []
        return file.metadata.num_rows, labels


def _content(image: dict[str, Any] | None, place: str) -> tuple[bytes | str, str]:
    """The file in a column of images, or its path, and what to call it."""
    if image is None:
        return b"", place
    if image["bytes"] is not None:
        return image["bytes"], place
    if os.path.exists(image["path"]):
        return image["path"], image["path"]
    import fsspec

    with fsspec.open(image["path"], "rb") as stream:
        return stream.read(), image["path"]


def _is_image(feature: Any) -> bool:
    return isinstance(feature, library().Image)


def _is_file(feature: Any) -> bool:
    """Whether a column holds files, or records with a file and its path, without saying that they are images."""
    return getattr(feature.get("bytes") if isinstance(feature, dict) else feature, "dtype", "") == "binary"


def _is_class(feature: Any) -> bool:
    return isinstance(feature, library().ClassLabel)


def _is_integer(feature: Any) -> bool:
    return "int" in str(getattr(feature, "dtype", "")) and not _is_class(feature)


def _ask_hub(path: str, revision: str | None) -> None:
    """Raises whatever is wrong at once; `load_dataset` would go on trying for half a minute."""
    import huggingface_hub

    huggingface_hub.HfApi().dataset_info(path, revision=revision, timeout=10)


def _stamp(file: str) -> list[Any]:
    """What changes if a file does; the address of one on the hub names a commit."""
    if not os.path.exists(file):
        return [file]
    status = os.stat(file)
    return [file, status.st_size, status.st_mtime_ns]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that the libraries print while they look for a set."""
    loggers = {name: logging.getLogger(name) for name in ("datasets", "huggingface_hub", "fsspec")}
    levels, shown = {name: logger.level for name, logger in loggers.items()}, not library().are_progress_bars_disabled()
    library().disable_progress_bars()
    for logger in loggers.values():
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])
        if shown:
            library().enable_progress_bars()


def _saved(folder: Path) -> list[str]:
    """The files of a split that `save_to_disk` made; others beside them are caches of `map` and `filter`."""
    try:
        listed = json.loads((folder / "state.json").read_text())["_data_files"]
        return [glob.escape(str(folder / one["filename"])) for one in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'state.json'} cannot be read as a list of data files ({error})") from error
