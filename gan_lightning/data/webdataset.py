"""Data in tar shards, on disk or behind URLs: `data=webdataset`."""

import json
import re
from collections import Counter
from pathlib import Path

from gan_lightning.data.base import Split
from gan_lightning.data.streamed import StreamedData
from gan_lightning.data.tars import PACKED, TarShards, is_remote, library
from gan_lightning.errors import DataError

TEST = {"test", "testing", "val", "valid", "validation"}


class WebDataset(StreamedData):
    """Shards in the format of WebDataset; see `tars`.

    Args:
        root: of the shards; see `list_shards`.
        test_root: those of the test split. Without it, they are those in the folder `root` that are named for it.
        label_key: the field of a sample's .json that holds its label, where there is no .cls.
        index: a JSON file that knows how many samples each shard has, as `widsindex create` makes it:
            {"shardlist": [{"url": "000.tar", "nsamples": 1000}, ...]}. It saves reading all remote shards once.
    """

    def __init__(self, root: str, test_root: str | None = None, label_key: str = "label", index: str | None = None,
                 **loading) -> None:
        super().__init__(**loading)
        library()
        self.root, self.test_root, self.label_key, self.index = root, test_root, label_key, index

    @property
    def title(self) -> str:
        return self.root

    def open_shards(self, split: Split) -> TarShards:
        root, option = self.root, "data.root"
        if split == "test" and self.test_root is not None:
            root, option = self.test_root, "data.test_root"
        names = list_shards(root, None if option == "data.test_root" else split, option)
        count = None if self.index is None else known_counts(self.index, names)
        return TarShards(names, self.num_classes > 0, self.label_key, count, f"{root} ({split})")


def list_shards(root: str, split: Split | None = None, option: str = "data.root") -> list[str]:
    """The shards that `root` means, in order.

    root: a folder, or a pattern such as PATH/{000..099}.tar, PATH/*.tar or https://HOST/{000..099}.tar, or several of
        these with :: between them.
    split: which shards of a folder: those with test or val in their names, or in that of a folder, are test; None
        takes all. A pattern means what it says, and is for the train split.

    Raises:
        DataError: there are none, or a local one is missing.
    """
    path = Path(root).expanduser()
    if path.is_dir():
        return _in_folder(path, split, option)
    if split == "test":
        raise DataError(f"{option}={root} names the shards to train on; those for test are data.test_root")
    found = []
    for name in library().shardlists.expand_urls(root):
        name = name if is_remote(name) else str(Path(name).expanduser().absolute())
        wild = "*" in name and not is_remote(name)
        found += sorted(map(str, Path("/").glob(name.lstrip("/")))) if wild else [name]
    missing = [name for name in found if not is_remote(name) and not Path(name).is_file()]
    if missing or not found:
        what = f"{len(missing):,} of {len(found):,} missing, such as {missing[0]}" if found else "no such files"
        raise DataError(f"{option}={root}: {what}; give a folder of .tar files, a pattern such as "
                        "shards/{000..099}.tar, or a URL")
    return found


def _in_folder(folder: Path, split: Split | None, option: str) -> list[str]:
    names = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.name.endswith((".tar", *PACKED)))
    chosen = [str(folder / name) for name in names if split is None or _is_test(name) == (split == "test")]
    if not chosen:
        others = f"{len(names):,} others, such as {names[0]}" if names else "no .tar file at all"
        raise DataError(f"{option}={folder} holds no shards for {split or 'test'}, but {others}; shards for test have "
                        "test or val in their names, or are given by data.test_root")
    return chosen


def _is_test(name: Path) -> bool:
    return not TEST.isdisjoint(re.split(r"[^a-z]+", name.as_posix().lower()))


def known_counts(index: str, names: list[str]) -> list[int]:
    """The number of samples of each shard, by the name of its file, from a JSON file as `widsindex` makes it."""
    try:
        listed = json.loads(Path(index).expanduser().read_text())["shardlist"]
        known = {Path(shard["url"]).name: int(shard["nsamples"]) for shard in listed}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"data.index={index} cannot be read as an index of shards ({type(error).__name__}: {error}); "
                        'it holds {"shardlist": [{"url": NAME, "nsamples": N}, ...]}') from error
    base = [Path(name).name for name in names]
    twice = [name for name, count in Counter(base).items() if count > 1]
    if twice or len(known) < len(listed):
        raise DataError(f"data.index={index} goes by the names of files, but several are called "
                        f"{twice[0] if twice else 'alike in it'}; leave data.index out")
    missing = [name for name in names if Path(name).name not in known]
    if missing:
        raise DataError(f"data.index={index} does not know {len(missing):,} of {len(names):,} shards, such as "
                        f"{missing[0]}; mend it, or leave data.index out")
    return [known[Path(name).name] for name in names]
