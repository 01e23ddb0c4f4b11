"""Signatures read from source equal those of `inspect`, without an import."""

import inspect
import subprocess
import sys
from textwrap import dedent

import pytest

from gan_lightning.config.modules import Absent
from gan_lightning.config.signature import signature

SOURCE = {
    "sig_pkg/__init__.py": """
        from .parts import Child as Renamed, Base
        from . import parts
        Alias = Base
    """,
    "sig_pkg/stars.py": "from .parts import *",
    "sig_pkg/parts.py": '''
        from __future__ import annotations
        import functools
        from collections.abc import Callable
        from dataclasses import dataclass, field
        from typing import ClassVar, NamedTuple, overload
        import json as anything

        class Base:
            def __init__(self, width: int, depth: int = 2, *, bias: bool = True): ...

            @classmethod
            def small(cls, depth: int): ...

            @staticmethod
            def large(depth: int = 1): ...

        class Silent(Base):
            pass

        class Child(Base):
            def __init__(self, mode: str, **loading):
                super().__init__(64, **loading)

        class Grandchild(Child):
            def __init__(self, extra: int, **loading):
                super().__init__(mode="x", **loading)

        class ByPlace(Child):
            def __init__(self, own: int = 1, **loading):
                super().__init__("mode", **loading)

        class Keeps(Base):
            def __init__(self, **settings):
                super().__init__(1)

        class Nothing: ...

        @dataclass
        class Data(Nothing):
            name: str
            size: int = 3
            tags: list = field(default_factory=list)
            hidden: int = field(default=1, init=False)
            shared: ClassVar[int] = 0

        @dataclass
        class MoreData(Data):
            more: float = 0.5

        class Pair(NamedTuple):
            one: int
            two: int = 2

        class Overloaded:
            @overload
            def __init__(self, a: int): ...
            @overload
            def __init__(self, b: str): ...
            def __init__(self, a=None, b=None): ...

        def function(x, /, y: int, *rest, z=1, **more): ...

        made = functools.partial(function, 1)

        @functools.lru_cache
        class Decorated:
            def __init__(self, a): ...
    ''',
}
MODULE = "sig_pkg.parts"


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signature")
    for name, text in SOURCE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(dedent(text))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def read(target: str) -> dict[str, bool]:
    """Parameter -> whether it is required."""
    return {name: parameter.required for name, parameter in signature(target).parameters.items()}


@pytest.mark.parametrize("name", [
    "Base", "Silent", "Data", "MoreData", "Pair", "Overloaded", "Nothing", "function",
])  # fmt: skip
def test_equals_inspect(name):
    module = __import__(MODULE, fromlist=[name])
    expected = {
        parameter.name: parameter.default is parameter.empty
        for parameter in inspect.signature(getattr(module, name)).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    assert read(f"{MODULE}.{name}") == expected
    assert signature(f"{MODULE}.{name}").open == (name == "function")


def test_rest_that_is_handed_on_is_the_bases():
    assert read(f"{MODULE}.Child") == {"depth": False, "bias": False, "mode": True}
    assert read(f"{MODULE}.Grandchild") == {"depth": False, "bias": False, "extra": True}
    assert read(f"{MODULE}.ByPlace") == {"depth": False, "bias": False, "own": False}
    assert not signature(f"{MODULE}.Grandchild").open


def test_rest_that_is_kept_takes_anything():
    assert signature(f"{MODULE}.Keeps").open


@pytest.mark.parametrize("target, name", [
    ("sig_pkg.Renamed", "Child"), ("sig_pkg.Alias", "Base"), ("sig_pkg.stars.Base", "Base"),
    ("sig_pkg.parts.Base.small", "Base.small"), ("sig_pkg.parts.Base.large", "Base.large"),
])  # fmt: skip
def test_re_exports_and_methods(target, name):
    assert signature(target).name == name


def test_methods_lose_cls_only():
    assert read(f"{MODULE}.Base.small") == {"depth": True}
    assert read(f"{MODULE}.Base.large") == {"depth": False}


@pytest.mark.parametrize("target", [
    f"{MODULE}.made", f"{MODULE}.Decorated", "builtins.dict", "math.sqrt", "sig_pkg.stars.elsewhere",
])  # fmt: skip
def test_unknown_is_not_an_error(target):
    assert signature(target) is None


@pytest.mark.parametrize("target, message", [
    ("sig_pkg.parts.Bas", "no 'Bas' in sig_pkg.parts"), ("sig_pkg.prts.Base", "no 'prts' in sig_pkg"),
    ("nowhere_at_all.Base", "no module 'nowhere_at_all'"), ("sig_pkg.parts", "is a module"),
    ("gan_lightning.lossess.X", "no module 'gan_lightning.lossess'"),
])  # fmt: skip
def test_absent_is(target, message):
    with pytest.raises(Absent, match=message):
        signature(target)


LIBRARY = [
    "torch.optim.Adam", "torch.optim.AdamW", "torch.optim.SGD", "torch.optim.RMSprop", "torch.nn.Conv2d",
    "torch.optim.lr_scheduler.LinearLR", "lightning.Trainer", "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.callbacks.ModelCheckpoint",
]  # fmt: skip


@pytest.mark.parametrize("target", LIBRARY)
def test_library_classes_equal_inspect(target):
    from hydra.utils import get_class

    parameters = inspect.signature(get_class(target)).parameters.values()
    expected = {p.name: p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD}
    assert read(target) == expected


def test_nothing_is_imported():
    program = f"""
import sys
from gan_lightning.config.signature import signature
found = [signature(target) for target in {LIBRARY}]
assert all(found)
print(sorted({{"torch", "lightning", "numpy"}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
