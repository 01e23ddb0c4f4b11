"""Finds and reads Python modules without importing them, so that a check costs milliseconds, not torch."""

import ast
import importlib.util
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple

MAX_HOPS = 20  # re-exports followed for one name; more is a cycle


class Unknown(Exception):
    """Reading the source does not tell: compiled, made at run time, or too clever."""


class Absent(Exception):
    """There certainly is no such name; `siblings` are the names that there are."""

    def __init__(self, what: str, name: str, siblings: list[str]):
        super().__init__(what)
        self.name, self.siblings = name, siblings


class Imported(NamedTuple):
    """`import module` (name is None) or `from module import name`."""

    module: str
    name: str | None


@dataclass
class Module:
    """The names that a module's source gives: classes and functions, values, imports."""

    name: str
    folders: list[str]
    names: dict[str, ast.AST | Imported] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    readable: bool = True

    def siblings(self) -> list[str]:
        return [*self.names, *(info.name for info in iter_modules(self.folders))]


class Found(NamedTuple):
    """A definition and the module whose names it is written in."""

    module: Module
    node: ast.AST


@cache
def find(name: str) -> Module:
    """The module of that dotted name.

    Errors: Absent if there is none; Unknown if the finders cannot say.
    """
    spec = _spec(name)
    folders = list(spec.submodule_search_locations or [])
    module = Module(name, folders)
    if spec.origin and spec.origin.endswith(".py"):
        body = ast.parse(Path(spec.origin).read_bytes(), spec.origin).body
        _collect(body, module, name if folders else name.rpartition(".")[0])
    else:
        module.readable = spec.origin is None  # a namespace package holds modules and nothing else
    return module


def _spec(name: str) -> ModuleSpec:
    parent, _, last = name.rpartition(".")
    if not parent:
        try:
            spec = importlib.util.find_spec(name)  # imports nothing for a name without dots
        except ValueError as error:
            raise Unknown(name) from error
        siblings = [path.stem for path in Path.cwd().glob("*.py")]
    else:
        package = find(parent)
        spec = PathFinder.find_spec(name, package.folders) if package.folders else None
        siblings = [info.name for info in iter_modules(package.folders)]
    if spec is None:
        if name in sys.modules:
            raise Unknown(name)
        raise Absent(f"no module {name!r}", last, siblings)
    return spec


def lookup(module: Module, name: str, hops: int = 0) -> Found | Module:
    """What `module.name` is, through re-exports and aliases.

    Errors: Absent or Unknown.
    """
    if hops > MAX_HOPS:
        raise Unknown(name)
    entry = module.names.get(name)
    if entry == Imported(module.name, name):  # `from . import name` in a package: its own submodule
        return find(f"{module.name}.{name}")
    if isinstance(entry, Imported):
        return _imported(entry, hops)
    if isinstance(entry, ast.Name) and entry.id != name:
        return lookup(module, entry.id, hops + 1)
    if isinstance(entry, ast.Attribute):
        return dotted(module, entry, hops + 1)
    if entry is not None:
        return Found(module, entry)
    if module.folders:
        try:
            return find(f"{module.name}.{name}")
        except Absent:
            pass
    for star in module.stars:
        try:
            return lookup(find(star), name, hops + 1)
        except Absent:
            pass
    if module.stars or not module.readable:
        raise Unknown(name)
    raise Absent(f"no {name!r} in {module.name}", name, module.siblings())


def dotted(module: Module, node: ast.AST, hops: int = 0) -> Found | Module:
    """What the expression `name` or `name.name` means inside a module. Errors: Absent or Unknown."""
    if isinstance(node, ast.Name):
        return lookup(module, node.id, hops)
    if isinstance(node, ast.Attribute):
        owner = dotted(module, node.value, hops)
        if isinstance(owner, Module):
            return lookup(owner, node.attr, hops)
    raise Unknown(ast.dump(node))


def _imported(entry: Imported, hops: int) -> Found | Module:
    source = find(entry.module)
    return source if entry.name is None else lookup(source, entry.name, hops + 1)


def _collect(body: list[ast.stmt], module: Module, package: str, nested: bool = False) -> None:
    """Enters the names of statements; under an `if` or `try` the first definition counts."""

    def enter(name: str, value: ast.AST | Imported) -> None:
        if not (nested and name in module.names):
            module.names[name] = value

    for statement in body:
        match statement:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if statement.name == "__getattr__":
                    module.readable = False
                enter(statement.name, statement)
            case ast.Import():
                for alias in statement.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    enter(alias.asname or whole, Imported(whole, None))
            case ast.ImportFrom():
                source = _absolute(statement, package)
                for alias in statement.names:
                    if alias.name == "*":
                        module.stars.append(source)
                    else:
                        enter(alias.asname or alias.name, Imported(source, alias.name))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                enter(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                enter(name, value)
            case ast.If() | ast.Try() | ast.With():
                handlers = [s for handler in getattr(statement, "handlers", []) for s in handler.body]
                inner = [*statement.body, *getattr(statement, "orelse", []), *handlers]
                _collect(inner, module, package, nested=True)
            case _ if type(statement).__name__ == "TypeAlias":  # `type X = ...`, Python 3.12
                enter(statement.name.id, statement.value)


def _absolute(statement: ast.ImportFrom, package: str) -> str:
    if not statement.level:
        return statement.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - statement.level + 1]
    return ".".join([*parts, statement.module] if statement.module else parts)
