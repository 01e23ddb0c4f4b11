"""Whether a value from YAML fits a parameter's annotation, and the words for what would."""

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

from gan_lightning.config.modules import Absent, Found, Module, Unknown, dotted
from gan_lightning.config.signature import Parameter
from gan_lightning.config.suggest import did_you_mean

SCALARS = {"int": "int", "float": "float", "bool": "bool", "str": "str", "Path": "str", "PathLike": "str"}
LISTS = {"list", "List", "Sequence", "MutableSequence", "Iterable", "Collection", "set", "Set"}
DICTS = {"dict", "Dict", "Mapping", "MutableMapping"}
ANYTHING = {"Any", "object"}
WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "null": "null",
    "dict": "a mapping",
    "object": "a node with a _target_",
}


class Kind(NamedTuple):
    """One alternative of an annotation. `parts`: the choices of a literal, else annotations of elements."""

    name: str  # a key of WORDS, or any, literal, list, tuple
    parts: tuple = ()
    module: Module | None = None


def kinds(annotation: ast.expr | None, module: Module) -> Iterator[Kind]:
    """The alternatives of an annotation, one by one: the first ones are often enough and cost no file."""
    match annotation:
        case None:
            yield Kind("any")
        case ast.Constant(value=None):
            yield Kind("null")
        case ast.Constant(value=str(text)):
            yield from kinds(_parsed(text), module)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield from kinds(left, module)
            yield from kinds(right, module)
        case ast.Subscript(value=outer, slice=inner):
            parts = tuple(inner.elts) if isinstance(inner, ast.Tuple) else (inner,)
            yield from _generic(_name(outer), parts, module)
        case ast.Name() | ast.Attribute():
            yield from _named(annotation, module)
        case _:
            yield Kind("any")


def _generic(name: str, parts: tuple, module: Module) -> Iterator[Kind]:
    if name in ("Union", "Optional"):
        for part in parts:
            yield from kinds(part, module)
        if name == "Optional":
            yield Kind("null")
    elif name == "Literal":
        known = all(isinstance(part, ast.Constant) for part in parts)
        yield Kind("literal", tuple(part.value for part in parts)) if known else Kind("any")
    elif name in ("Annotated", "Final", "Required", "InitVar"):
        yield from kinds(parts[0], module)
    elif name in ("tuple", "Tuple"):
        endless = len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is ...
        yield Kind("list", parts[:1], module) if endless else Kind("tuple", parts, module)
    elif name in LISTS:
        yield Kind("list", parts, module)
    elif name in DICTS:
        yield Kind("dict", parts, module)
    else:
        yield Kind("object")


def _named(node: ast.expr, module: Module) -> Iterator[Kind]:
    name = _name(node)
    if name in SCALARS:
        yield Kind(SCALARS[name])
    elif name in LISTS | {"tuple", "Tuple"}:
        yield Kind("list")
    elif name in DICTS:
        yield Kind("dict")
    elif name in ANYTHING:
        yield Kind("any")
    elif name in ("Callable", "type", "Type"):
        yield Kind("object")
    else:
        yield from _defined(node, module)


def _defined(node: ast.expr, module: Module) -> Iterator[Kind]:
    """A class takes an object; an alias is what it stands for; what cannot be found takes anything."""
    try:
        found = dotted(module, node)
    except (Absent, Unknown, OSError, SyntaxError):
        found = None
    if isinstance(found, Found) and isinstance(found.node, ast.ClassDef):
        yield Kind("object")
    elif isinstance(found, Found) and isinstance(found.node, ast.Subscript | ast.BinOp | ast.Constant):
        yield from kinds(found.node, found.module)
    else:
        yield Kind("any")


def problem(value: Any, parameter: Parameter) -> str | None:
    """`must be a number or null`, or None if the value fits. `value`: plain Python, lists and dicts."""
    if _fits(value, parameter.annotation, parameter.module):
        return None
    if value is None and isinstance(parameter.default, ast.Constant) and parameter.default.value is None:
        return None
    alternatives = list(kinds(parameter.annotation, parameter.module))
    choices = [choice for kind in alternatives if kind.name == "literal" for choice in kind.parts]
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    if isinstance(value, int | float) and any(kind.name == "str" for kind in alternatives):
        hint = f"; quoted, '\"{plain(value)}\"', it is one"
    return f"must be {_words(alternatives)}{hint}"


def _fits(value: Any, annotation: ast.expr | None, module: Module) -> bool:
    if isinstance(value, dict) and "_target_" in value:
        return True  # only a run shows what it makes
    return any(_is(value, kind) for kind in kinds(annotation, module))


def _is(value: Any, kind: Kind) -> bool:
    match kind.name:
        case "any":
            return True
        case "null":
            return value is None
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case "literal":
            return any(type(value) is type(choice) and value == choice for choice in kind.parts)
        case "list":
            return isinstance(value, list) and all(_element(v, kind.parts[:1], kind.module) for v in value)
        case "tuple":
            return isinstance(value, list) and len(value) == len(kind.parts) and all(
                _fits(v, part, kind.module) for v, part in zip(value, kind.parts, strict=True)
            )
        case "dict":
            return isinstance(value, dict) and all(
                isinstance(v, dict) or _element(v, kind.parts[1:2], kind.module) for v in value.values()
            )
    return False


def _element(value: Any, annotation: tuple, module: Module | None) -> bool:
    return not annotation or _fits(value, annotation[0], module)


def takes_plain_dict(annotation: ast.expr | None, module: Module) -> bool:
    """Whether a mapping without `_target_` fits."""
    return any(kind.name in ("any", "dict") for kind in kinds(annotation, module))


def takes_dict_of_objects(annotation: ast.expr | None, module: Module) -> bool:
    """Whether every value of such a mapping must itself be a node with a `_target_`, or null."""
    dicts = [kind for kind in kinds(annotation, module) if kind.name in ("any", "dict")]
    if not dicts or any(len(kind.parts) != 2 for kind in dicts):
        return False
    values = [value for kind in dicts for value in kinds(kind.parts[1], kind.module)]
    return {value.name for value in values} <= {"object", "null"}


def plain(value: Any) -> str:
    """The value as one writes it on the command line."""
    if isinstance(value, list):
        return f"[{','.join(plain(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}: {plain(v)}' for k, v in value.items())}}}"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(alternatives: list[Kind]) -> str:
    words = dict.fromkeys(_word(kind) for kind in alternatives if kind.name not in ("literal", "object"))
    choices = [plain(choice) for kind in alternatives if kind.name == "literal" for choice in kind.parts]
    if choices:
        words = {f"one of {', '.join(dict.fromkeys(choices))}": None} | words
    return " or ".join(words if set(words) - {"null"} else [WORDS["object"], *words])


def _word(kind: Kind) -> str:
    if kind.name == "list":
        return f"a list{_of_words(kind.parts[:1], kind.module)}"
    if kind.name == "tuple":
        return f"a list of {len(kind.parts)} values{_of_words(kind.parts[:1], kind.module)}"
    return WORDS[kind.name]


def _of_words(parts: tuple, module: Module | None) -> str:
    if not parts:
        return ""
    inner = list(kinds(parts[0], module))
    return "" if any(kind.name == "any" for kind in inner) else f", each {_words(inner)}"


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
