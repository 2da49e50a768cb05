"""Where a template finds the user's function or class: its place in a module, or its pickle.

What an import finds has a place; only the rest travels by value, with its handles to functions of
the same app. Templates load this: standard library only until something is pickled.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from rekindle.exception import DeserializationError, RequestSizeError
from rekindle.sdk import declaration as declarations
from rekindle.sdk.cls import Cls, hooks_of, parameters_of
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.function import Function

if TYPE_CHECKING:
    from collections.abc import Callable


#: Code is small; what is larger carries data along.
MAX_CODE_BYTES = 64 * 1024 * 1024


class Place(NamedTuple):
    """Where something is declared: the module's name in runners, and the name in it."""

    module: str
    name: str


def place_of(declaration: Declaration) -> Place | None:
    """Where an import finds what is declared; None where it has to travel by value."""
    from rekindle.sdk.program.by_value import is_by_value, is_only_here, name_in_runners

    raw = declaration.raw
    module = getattr(raw, "__module__", None)
    serialized = declaration.options is not None and declaration.options.serialized
    if raw is None or serialized or not isinstance(module, str) or is_by_value(module):
        return None
    code = getattr(raw, "__code__", None)
    if code is not None and code.co_filename.startswith("<"):
        return None  # typed in, or made by exec: it is in no file
    for name in _names_of(declaration, module):
        if not is_only_here(module, name) and not _is_under_guard(raw, module):
            return Place(name_in_runners(module), name)
    return None


def _names_of(declaration: Declaration, module: str) -> list[str]:
    """Names that the module has for it: its own, else any at the top."""
    from rekindle.sdk.program.by_value import found_at

    raw = declaration.raw
    if _is_it(found_at(module, raw.__qualname__), raw):
        return [raw.__qualname__]
    return [n for n, value in sorted(vars(sys.modules[module]).items()) if _is_it(value, raw)]


def _is_it(found: Any, raw: Any) -> bool:
    if type(found) in (Function, Cls):
        return found._declaration.raw is raw and not getattr(found, "_method", "")
    return found is raw


def _is_under_guard(raw: Any, module: str) -> bool:
    from rekindle.sdk.program import main_module

    known = main_module.current()
    code = getattr(raw, "__code__", None)
    if known is None or module != known.here or code is None:
        return False
    if code.co_filename != getattr(sys.modules[module], "__file__", None):
        return False
    return any(code.co_firstlineno in lines for lines in main_module.guarded(known.file).lines)


def declared_at(module: Any, name: str) -> Any:
    """The user's function or class at ``name`` of an imported module, without its decoration."""
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    raw = found._declaration.raw if isinstance(found, (Function, Cls)) else found
    if raw is None:
        raise DeserializationError(
            f"module {module.__name__!r} has no {name!r} when it is imported in a runner. Declare "
            f"it at the top level, under no condition that only holds where the program starts "
            f"(rekindle.is_local(), say), or with serialized=True; or is another version of the "
            f"module first on sys.path?"
        )
    return raw


def pack(declaration: Declaration) -> bytes:
    """The payload of a function or class that travels by value.

    Raises SerializationError, naming the global or closure variable that cannot be pickled, and
    RequestSizeError when it carries too much data.
    """
    from rekindle.wire.serialization import serialize

    what = f"the code of {declaration.name}"
    token = declarations.packing.set(declaration.app)
    try:
        data = serialize(contents(declaration.raw), what)
    finally:
        declarations.packing.reset(token)
    if len(data) > MAX_CODE_BYTES:
        raise RequestSizeError(
            f"{what} takes {len(data) / (1 << 20):.0f} MiB, more than {MAX_CODE_BYTES >> 20} MiB: "
            f"it carries the values of the globals that it mentions. Load large ones in an "
            f"@rekindle.enter() method, or in a module that is imported"
        )
    return data


def contents(raw: Any) -> dict[str, Any]:
    """What a service is made from."""
    if not isinstance(raw, type):
        return {"kind": "function", "callable": raw}
    return {
        "kind": "cls",
        "cls": raw,
        **hooks_of(raw),
        # Ellipsis where there is no default.
        "parameters": {name: parameter.default for name, parameter in parameters_of(raw).items()},
    }


class Reference:
    """Unpickles to the user's function or class that is decorated at a place in a module."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return load_reference, (self.module, self.name)


def portable(declaration: Declaration) -> Any:
    """The user's code for a pickle of a handle: a Reference where an import finds it."""
    place = place_of(declaration)
    return declaration.raw if place is None else Reference(*place)


def load_reference(module: str, name: str) -> Any:
    """Import ``module`` and give the user's function or class at ``name``."""
    import importlib

    return declared_at(importlib.import_module(module), name)
