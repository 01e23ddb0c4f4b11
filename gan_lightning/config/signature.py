"""What a `_target_` takes, read from its source: nothing is imported."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from gan_lightning.config.modules import Absent, Found, Module, Unknown, dotted, find, lookup

NO_CONSTRUCTOR = {"object", "ABC", "Generic", "Protocol"}
DATACLASS = {"dataclass"}
FROZEN_SIGNATURE = {"final", "runtime_checkable", "total_ordering"}  # decorators that leave `__init__` alone


@dataclass(frozen=True)
class Parameter:
    """One setting: its annotation is an expression to be read with the names of `module`."""

    name: str
    annotation: ast.expr | None
    default: ast.expr | None
    required: bool
    module: Module


@dataclass(frozen=True)
class Signature:
    """The settings of a class or function; an `open` one takes keywords that it does not name."""

    name: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    open: bool = False


@cache
def signature(target: str) -> Signature | None:
    """The signature behind a dotted path; None if its source does not tell.

    Errors: Absent if there is no such module or name.
    """
    try:
        found, rest = _locate(target)
        if not rest:
            return _of(found)
        if len(rest) == 1 and isinstance(found.node, ast.ClassDef):
            return _of_method(found, rest[0])
    except Unknown:
        pass
    return None


def _locate(target: str) -> tuple[Found, list[str]]:
    first, *names = target.split(".")
    place: Module | Found = find(first)
    for depth, name in enumerate(names):
        if isinstance(place, Found):
            return place, names[depth:]
        try:
            place = lookup(place, name)
        except Unknown:
            # A lazy package makes classes on demand, but its modules are files.
            if name.islower() and depth < len(names) - 1 and isinstance(place, Module) and place.folders:
                find(f"{place.name}.{name}")
            raise
    if isinstance(place, Module):
        raise Absent(f"{target!r} is a module, not a class or function", "", [])
    return place, []


def _of(found: Found) -> Signature:
    module, node = found
    if isinstance(node, ast.ClassDef):
        return _of_class(found) or Signature(node.name)
    if isinstance(node, ast.FunctionDef):
        return _of_function(node.name, module, node, bound=False)
    raise Unknown(ast.dump(node))


def _of_function(name: str, module: Module, node: ast.FunctionDef, bound: bool) -> Signature:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    pairs = list(zip(positional, defaults, strict=True))[1 if bound else 0 :]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parameters = {
        argument.arg: Parameter(argument.arg, argument.annotation, default, default is None, module)
        for argument, default in pairs
    }
    return Signature(name, parameters, open=arguments.kwarg is not None)


def _of_method(found: Found, name: str) -> Signature:
    method = _method(found.node, name)
    if method is None:
        raise Unknown(name)
    kinds = {_last_name(decorator) for decorator in method.decorator_list}
    if not kinds <= {"classmethod", "staticmethod"}:
        raise Unknown(name)
    return _of_function(f"{found.node.name}.{name}", found.module, method, bound="classmethod" in kinds)


def _of_class(found: Found) -> Signature | None:
    """None: neither the class nor its bases have a constructor, so it takes nothing."""
    module, node = found
    decorators = {_last_name(decorator) for decorator in node.decorator_list}
    if decorators - DATACLASS - FROZEN_SIGNATURE:
        raise Unknown(node.name)
    constructor = _method(node, "__init__") or _method(node, "__new__")
    if constructor is not None:
        own = _of_function(node.name, module, constructor, bound=True)
        return _with_forwarded(own, found, constructor) if own.open else own
    if decorators & DATACLASS or any(_last_name(base) == "NamedTuple" for base in node.bases):
        inherited = _of_bases(found) if decorators else None
        return Signature(node.name, (inherited.parameters if inherited else {}) | dict(_fields(found)))
    inherited = _of_bases(found)
    return replace(inherited, name=node.name) if inherited else None


def _of_bases(found: Found) -> Signature | None:
    for base in found.node.bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        if _last_name(base) in NO_CONSTRUCTOR:
            continue
        try:
            parent = dotted(found.module, base)
        except Absent as absent:
            raise Unknown(found.node.name) from absent  # a fault of that source, not of the config
        if not (isinstance(parent, Found) and isinstance(parent.node, ast.ClassDef)):
            raise Unknown(found.node.name)
        inherited = _of_class(parent)
        if inherited is not None:
            return inherited
    return None


def _with_forwarded(own: Signature, found: Found, constructor: ast.FunctionDef) -> Signature:
    """`**rest` handed on to `super().__init__` stands for the base's parameters that are not set there."""
    call = next(_super_calls(constructor), None)
    if call is None:
        return own
    base = _of_bases(found)
    if base is None:
        return replace(own, open=False)
    set_here = [*base.parameters][: len(call.args)] + [keyword.arg for keyword in call.keywords]
    handed_on = {name: p for name, p in base.parameters.items() if name not in {*set_here, *own.parameters}}
    return Signature(own.name, own.parameters | handed_on, base.open)


def _super_calls(constructor: ast.FunctionDef) -> Iterator[ast.Call]:
    rest = constructor.args.kwarg.arg
    for node in ast.walk(constructor):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__")):
                if any(
                    keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == rest
                    for keyword in node.keywords
                ):
                    yield node


def _fields(found: Found) -> Iterator[tuple[str, Parameter]]:
    for statement in found.node.body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        annotation, default, name = statement.annotation, statement.value, statement.target.id
        required = default is None
        if isinstance(default, ast.Call) and _last_name(default.func) == "field":
            given = {keyword.arg: keyword.value for keyword in default.keywords}
            if isinstance(given.get("init"), ast.Constant) and given["init"].value is False:
                continue
            default, required = given.get("default"), not {"default", "default_factory"} & set(given)
        if _last_name(annotation) != "ClassVar":
            yield name, Parameter(name, annotation, default, required, found.module)


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    methods = [
        statement
        for statement in node.body
        if isinstance(statement, ast.FunctionDef) and statement.name == name
        and not any(_last_name(decorator) == "overload" for decorator in statement.decorator_list)
    ]
    return methods[-1] if methods else None


def _last_name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return _last_name(inner)
    return ""
