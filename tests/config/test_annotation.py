"""Which values an annotation takes: a table, in both directions."""

import ast
import sys
from textwrap import dedent

import pytest

from gan_lightning.config.annotation import plain, problem, takes_dict_of_objects, takes_plain_dict
from gan_lightning.config.modules import find
from gan_lightning.config.signature import Parameter

SOURCE = """
    from collections.abc import Callable
    from typing import Any, Literal, Optional, Union
    from elsewhere_not_installed import Mystery
    Choice = Literal["adam", "sgd"]
    Weight = float | Callable[[int], float]
    class Class: ...
"""
NODE = {"_target_": "a.B"}


@pytest.fixture(scope="module")
def scope(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotation")
    (folder / "annotation_scope.py").write_text(dedent(SOURCE))
    sys.path.insert(0, str(folder))
    yield find("annotation_scope")
    sys.path.remove(str(folder))


def fault(scope, annotation: str, value, default: str | None = None) -> str | None:
    expressions = [text and ast.parse(text, mode="eval").body for text in (annotation, default)]
    return problem(value, Parameter("p", *expressions, required=default is None, module=scope))


TABLE = {
    "int": ([3, -1, NODE], [True, 1.0, "3", None, [3], {}]),
    "float": ([3, 1e-4], [True, "fast", None, [1.0]]),
    "bool": ([True, False], [0, 1, "yes", None]),
    "str": (["a", ""], [1, 2.5, True, None, ["a"]]),
    "int | None": ([3, None], ["none", 1.5]),
    "Optional[float]": ([0.5, None], ["x"]),
    "Union[int, str]": ([1, "a"], [1.5, None]),
    "Literal['a', 2]": (["a", 2], ["b", 2.0, None]),
    "Choice": (["adam"], ["adm", 1]),
    "Choice | None": (["sgd", None], ["adm"]),
    "'Choice'": (["adam"], ["adm"]),
    "Weight": ([0.1, NODE], ["x", True]),
    "Class": ([NODE], [1, "x", {}, None]),
    "float | Class": ([1.0, NODE], ["fast"]),
    "Callable[[int], float]": ([NODE], [1.0]),
    "list": ([[], [1, "a"]], [1, "a", {}]),
    "list[int]": ([[], [1]], [["a"], [1.5], [None], 1]),
    "list[Class]": ([[NODE]], [[1]]),
    "tuple[float, float]": ([[0, 0.9]], [[0.9], [0, 1, 2], ["a", 1], 0.5]),
    "tuple[int, ...]": ([[], [1, 2, 3]], [["a"]]),
    "list[list[int]]": ([[[1], []]], [[1]]),
    "dict": ([{}, {"a": 1}], [1, []]),
    "dict[str, int]": ([{"a": 1}], [{"a": "b"}, 3]),
    "Any": ([1, None, "x", {}], []),
    "Mystery": ([1, None, "x", {}], []),
    "int | Mystery": ([1, "x"], []),
}


@pytest.mark.parametrize("annotation", TABLE)
def test_what_fits(scope, annotation):
    fits, does_not = TABLE[annotation]
    assert [fault(scope, annotation, value) for value in fits] == [None] * len(fits)
    assert None not in [fault(scope, annotation, value) for value in does_not]


def test_null_fits_where_it_is_the_default(scope):
    assert fault(scope, "int", None, default="None") is None
    assert fault(scope, "int", None, default="3") == "must be an integer"


@pytest.mark.parametrize("annotation, value, words", [
    ("float | None", "x", "must be a number or null"),
    ("float | Class", "x", "must be a number"),
    ("Class", 1, "must be a node with a _target_"),
    ("Class | None", 1, "must be a node with a _target_ or null"),
    ("Choice", "adm", "must be one of adam, sgd - did you mean 'adam'?"),
    ("tuple[float, float]", [1], "must be a list of 2 values, each a number"),
    ("list[int] | int", "a", "must be a list, each an integer or an integer"),
    ("str", 5, "must be a string; quoted, '\"5\"', it is one"),
])  # fmt: skip
def test_words(scope, annotation, value, words):
    assert fault(scope, annotation, value) == words


@pytest.mark.parametrize("annotation, plain_dict, objects", [
    ("dict[str, Class | None] | None", True, True), ("dict[str, Class]", True, True), ("dict", True, False),
    ("dict[str, float]", True, False), ("dict[str, Any]", True, False), ("Class", False, False),
    ("float", False, False), ("Mystery", True, False),
])  # fmt: skip
def test_maps(scope, annotation, plain_dict, objects):
    node = ast.parse(annotation, mode="eval").body
    assert takes_plain_dict(node, scope) == plain_dict
    assert takes_dict_of_objects(node, scope) == objects


@pytest.mark.parametrize("value, text", [
    (None, "null"), (True, "true"), (1e-4, "0.0001"), ([0, None], "[0,null]"), ({"a": [1]}, "{a: [1]}"),
])  # fmt: skip
def test_plain(value, text):
    assert plain(value) == text
