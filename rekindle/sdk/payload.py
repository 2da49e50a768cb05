"""The code payload: what a template unpickles to get at the user's function or class.

Code that travels by name is sent as a reference to the decorated object in its module; the rest by
value, with its handles to functions of the same app.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rekindle.exception import DeserializationError, RequestSizeError
from rekindle.sdk import declaration as declarations
from rekindle.sdk.cls import Cls, hooks_of, parameters_of
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.function import Function

if TYPE_CHECKING:
    from collections.abc import Callable


#: Code is small; what is larger carries data along.
MAX_CODE_BYTES = 64 * 1024 * 1024


def pack(declaration: Declaration) -> bytes:
    """The payload of a function or class.

    Raises SerializationError, naming the global or closure variable that cannot be pickled, and
    RequestSizeError when it carries too much data.
    """
    from rekindle.wire.serialization import serialize

    raw = declaration.raw
    what = f"the code of {declaration.name}"
    token = declarations.packing.set(declaration.app)
    try:
        data = serialize(_contents(declaration, portable(raw)), what)
    finally:
        declarations.packing.reset(token)
    if len(data) > MAX_CODE_BYTES:
        raise RequestSizeError(
            f"{what} takes {len(data) / (1 << 20):.0f} MiB, more than {MAX_CODE_BYTES >> 20} MiB: "
            f"it carries the values of the globals that it mentions. Load large ones in an "
            f"@rekindle.enter() method, or in a module that is imported"
        )
    return data


def _contents(declaration: Declaration, code: Any) -> dict[str, Any]:
    if declaration.kind == "function":
        return {"kind": "function", "callable": code}
    found = hooks_of(declaration.raw)
    return {
        "kind": "cls",
        "cls": code,
        **found,
        # Ellipsis where there is no default.
        "parameters": {
            name: parameter.default for name, parameter in parameters_of(declaration.raw).items()
        },
    }


class Reference:
    """Unpickles to the user's function or class that is decorated at a place in a module."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return load_reference, (self.module, self.name)


def portable(raw: Any) -> Any:
    """``raw``, or a Reference where a module has it by name under its decoration."""
    from rekindle.sdk.byvalue import found_at, is_by_value

    module = getattr(raw, "__module__", None)
    if raw is None or not isinstance(module, str) or is_by_value(module):
        return raw
    at = found_at(module, raw.__qualname__)
    if isinstance(at, (Function, Cls)) and at._declaration.raw is raw:
        return Reference(module, raw.__qualname__)
    return raw


def load_reference(module: str, name: str) -> Any:
    """Import ``module`` and give the user's function or class at ``name``."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    raw = found._declaration.raw if isinstance(found, (Function, Cls)) else found
    if raw is None:
        raise DeserializationError(
            f"module {module!r} has no {name!r} here; is another version of it first on sys.path?"
        )
    return raw
