"""What is wrong with the arguments of a call of ours: too many, unknown, of a type that their
parameter does not take.

It is asked when a call has failed: one that goes well pays nothing for it. What only notes what it
was given, and would fail much later, is ``typed``. Types are judged by the annotations as they are
written, and only where these are plain ones. Standard library only.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeVar, cast

from rekindle.exception import InvalidError
from rekindle.sdk import checks
from rekindle.sdk.unsupported import keyword

#: Parameters that no program gives.
_IMPLICIT = ("self", "cls", "caller")
#: What an annotation takes.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "bytes": (bytes,),
    "None": (type(None),),
    "Path": (os.PathLike,),
    "os.PathLike": (os.PathLike,),
    "Mapping": (Mapping,),
    "dict": (dict,),
    "Sequence": (Sequence,),
    "Collection": (Sequence, Set),
    "list": (list,),
    "tuple": (tuple,),
    "Iterable": (Iterable,),
    "Callable": (object,),
}
#: What one of them is called, and many.
_WORDS = {
    "str": ("a text", "texts"),
    "int": ("a whole number", "whole numbers"),
    "float": ("a number", "numbers"),
    "bool": ("True or False", "True or False"),
    "bytes": ("bytes", "bytes"),
    "None": ("None", "None"),
    "Path": ("a path", "paths"),
    "os.PathLike": ("a path", "paths"),
    "Mapping": ("a dict", "dicts"),
    "dict": ("a dict", "dicts"),
    "tuple": ("a tuple", "tuples"),
    "Callable": ("a function", "functions"),
}
_LIST = ("a list", "lists")


F = TypeVar("F", bound=Callable[..., Any])


def typed(function: F) -> F:
    """Have a function that is called seldom refuse arguments of wrong types.

    Raises InvalidError.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if text := wrong_type(function, args, kwargs):
            raise InvalidError(text)
        return function(*args, **kwargs)

    return cast(F, call)


def wrong_type(called: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What is to be said of the first argument of a wrong type; "" where there is none.

    ``args`` with what no program gives. A value is not shown: it may be a secret.
    """
    for parameter, value in _given(called, args, kwargs):
        if parameter.annotation in ("None", inspect.Parameter.empty) or value is parameter.default:
            continue
        kind = ast.parse(parameter.annotation, mode="eval").body
        if not _fits(kind, value):
            return f"{_name(called, args)}: {parameter.name} must be {_words(kind)}{_but(value)}"
    return ""


def unbound(called: Callable[..., Any], args: Sequence[Any]) -> str:
    """What is to be said of a method that was called on its class; "" of others."""
    name = called.__name__
    if not args or next(iter(inspect.signature(called).parameters), "") not in ("self", "cls"):
        return ""
    if any(name in vars(one) for one in _type_of(args[0]).__mro__):
        return ""
    return f"{name}() is called on a class: call it on an object of that"


def misfit(text: str, called: Callable[..., Any], args: Sequence[Any]) -> str:
    """What Python says of arguments that a function of ours does not take, in the program's terms:
    without those that we add, with the nearest name."""
    where = _name(called, args)
    text = where + text[text.find("()") + 2 :].partition(". Did you mean ")[0]
    parameters = _parameters(called)
    if found := re.search(r"unexpected keyword argument '(\w+)'", text):
        if instead := keyword(where, found[1]):
            return f"{text}; {instead}"
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        names = [one.name for one in parameters if one.kind not in variable]
        near = checks.nearest(found[1], names)
        return text + (near or (f"; there are {', '.join(names)}" if names else ""))
    if found := re.search(r"takes .*but (\d+)", text):
        names = [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY]
        given = int(found[1]) - implicit(called)
        by_name = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
        takes = f"takes {', '.join(names) or 'nothing'} by position"
        named = f"; by name: {', '.join(by_name)}" if by_name else ""
        return (
            f"{_name(called, args)} {takes}, {given} {'was' if given == 1 else 'were'} given{named}"
        )
    cls = _type_of(args[0]) if args and called.__name__ == "__init__" else None
    if cls is not None and hasattr(cls, "from_name"):
        text += f"; {cls.__name__}.from_name(...) is what is kept by name"
    return text


def implicit(called: Callable[..., Any]) -> int:
    """How many of its first parameters no program gives."""
    names = list(inspect.signature(called).parameters)
    return next((i for i, name in enumerate(names) if name not in _IMPLICIT), len(names))


def _parameters(called: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(called).parameters.values())[implicit(called) :]


def _given(
    called: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterable[tuple[inspect.Parameter, Any]]:
    left = list(args[implicit(called) :])
    for parameter in _parameters(called):
        if parameter.kind is parameter.VAR_POSITIONAL:
            while left:
                yield parameter, left.pop(0)
        elif parameter.kind is not parameter.KEYWORD_ONLY and left:
            yield parameter, left.pop(0)
        elif parameter.name in kwargs:
            yield parameter, kwargs[parameter.name]


def _name(called: Callable[..., Any], args: Sequence[Any]) -> str:
    """``Volume.rename()``, by the class that it was called on, which may have inherited it; what is
    made for an object stands in the function that makes it."""
    owner, _, name = called.__qualname__.partition(".<locals>")[0].rpartition(".")
    if owner and implicit(called) and args and args[0] is not None:
        kind = _type_of(args[0])
        owner = kind.__name__ if any(name in vars(one) for one in kind.__mro__) else owner
    name = owner if name == "__init__" else f"{owner}.{name.lstrip('_')}".lstrip(".")
    return f"{name}()"


def _type_of(value: object) -> type:
    return value if isinstance(value, type) else type(value)


def _union(kind: ast.expr) -> list[ast.expr]:
    if isinstance(kind, ast.BinOp) and isinstance(kind.op, ast.BitOr):
        return [*_union(kind.left), *_union(kind.right)]
    return [kind]


def _parts(kind: ast.expr) -> tuple[str, list[ast.expr]]:
    """``list``, and ``str`` of ``list[str]``."""
    if not isinstance(kind, ast.Subscript):
        return ast.unparse(kind), []
    inner = kind.slice
    return ast.unparse(kind.value), inner.elts if isinstance(inner, ast.Tuple) else [inner]


def _fits(kind: ast.expr, value: Any) -> bool:
    return any(_fits_one(one, value) for one in _union(kind))


def _fits_one(kind: ast.expr, value: Any) -> bool:
    name, inner = _parts(kind)
    if name not in _TYPES:
        return True  # no plain type: its own check judges
    if name == "Callable":
        return callable(value)
    if isinstance(value, bool) and name != "bool":
        return False
    if not isinstance(value, _TYPES[name]):
        return False
    if isinstance(value, (str, bytes)) and name in ("Sequence", "Collection", "Iterable"):
        return False
    if isinstance(value, Mapping) and len(inner) == 2:
        return all(_fits(inner[0], key) and _fits(inner[1], one) for key, one in value.items())
    if isinstance(value, (list, tuple, set, frozenset)) and len(inner) == 1:
        return all(_fits(inner[0], one) for one in value)
    return True


def _words(kind: ast.expr, *, many: bool = False) -> str:
    found: list[str] = []
    for one in _union(kind):
        name, inner = _parts(one)
        if name not in _TYPES:
            found.append("what its documentation says")
            continue
        words = _WORDS.get(name, _LIST)[many]
        plain = [part for part in inner if _parts(part)[0] in _TYPES]
        if name in ("Mapping", "dict") and len(plain) == 2:
            words += f" of {_words(inner[0], many=True)} to {_words(inner[1], many=True)}"
        elif name not in ("Callable", "os.PathLike") and len(plain) == 1 and len(inner) == 1:
            words += f" of {_words(inner[0], many=True)}"
        if words not in found:
            found.append(words)
    return " or ".join(found)


def _but(value: Any) -> str:
    """What is given in its place."""
    inside = ""
    if isinstance(value, Mapping) and value:
        kinds = sorted(
            {f"{type(key).__name__}: {type(one).__name__}" for key, one in value.items()}
        )
        inside = f" with {', '.join(kinds)}"
    elif isinstance(value, (list, tuple, set, frozenset)) and value:
        inside = f" with {', '.join(sorted({type(one).__name__ for one in value}))}"
    return f"; what is given is of type {type(value).__name__}{inside}"
