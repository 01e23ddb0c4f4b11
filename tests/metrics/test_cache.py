"""Arrays kept on disk under what they were computed from."""

import logging

import numpy as np
import pytest

from gan_lightning.metrics.cache import Cache, default_folder, digest

FIELDS = {"kind": "Moments", "data": "ab" * 32, "version": 1, "nested": {"resize": "tf1"}}


def test_what_was_put_is_found_again(tmp_path):
    arrays = {"n": np.float64(3), "outer": np.arange(6.0).reshape(2, 3), "counts": np.array([1, 2])}
    Cache(tmp_path).put(FIELDS, arrays)
    found = Cache(tmp_path).get(FIELDS)
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype and np.array_equal(found[name], value)


@pytest.mark.parametrize("change", [{"data": "cd" * 32}, {"version": 2}, {"nested": {"resize": "clean"}}, {"kind": "Sums"}])
def test_another_description_finds_nothing(tmp_path, change):
    Cache(tmp_path).put(FIELDS, {"n": np.float64(3)})
    assert Cache(tmp_path).get(FIELDS | change) is None


def test_a_file_that_describes_something_else_does_not_count(tmp_path):
    cache = Cache(tmp_path)
    cache.put(FIELDS, {"n": np.float64(3)})
    other = FIELDS | {"version": 2}
    cache.path(FIELDS).rename(cache.path(other))
    assert cache.get(other) is None


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: data[:-200] + bytes(200)])
def test_a_damaged_file_counts_as_missing(tmp_path, damage, caplog):
    cache = Cache(tmp_path)
    cache.put(FIELDS, {"n": np.arange(1000.0)})
    path = cache.path(FIELDS)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert cache.get(FIELDS) is None
    assert path.name in caplog.text
    cache.put(FIELDS, {"n": np.arange(1000.0)})
    assert cache.get(FIELDS)["n"][-1] == 999


def test_a_file_with_a_pickle_in_it_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was executed",))

    cache = Cache(tmp_path)
    np.savez(cache.path(FIELDS), fields=np.str_("{}"), bomb=np.array([Bomb()], dtype=object), allow_pickle=True)
    assert cache.get(FIELDS) is None


def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        Cache(tmp_path / "file").put(FIELDS, {"n": np.float64(3)})
    assert "file cannot be written to" in caplog.text


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "ours"))
    assert default_folder() == tmp_path / "ours"
    monkeypatch.delenv("GAN_LIGHTNING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "gan_lightning"


def test_a_digest_depends_on_content_alone():
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1}) != digest({"a": 1, "b": [3, 2]})
    assert len(digest({}, 8)) == 8
