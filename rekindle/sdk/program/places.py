"""Which code travels by name, found at a place in a module, and which by value (cloudpickle).

By value: what no import can find. That is all of ``__main__`` at a prompt, in a notebook and under
``python -c``; functions in functions, lambdas; what stands under ``if __name__ == "__main__"``. The
same rule as the pickler's (wire/pickling.py), so that what is fingerprinted is what is shipped.
Standard library only, until cloudpickle is loaded by whoever pickles.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from rekindle.execution.declared import Decorated, import_declared
from rekindle.sdk.program import main_module
from rekindle.wire.pickling import found_at


class Place(NamedTuple):
    """Where something is declared: the module's name in runners, and the name in it."""

    module: str
    name: str


class Reference:
    """Unpickles to the user's function or class that is decorated at a place in a module."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return import_declared, (self._place.module, self._place.name)


def portable(raw: Any, *, serialized: bool) -> Any:
    """The user's code for a pickle of a handle: a Reference where an import finds it."""
    place = place_of(raw, serialized=serialized)
    return raw if place is None else Reference(place)


def place_of(raw: Any, *, serialized: bool = False) -> Place | None:
    """Where an import finds what is declared; None where it has to travel by value.

    ``serialized``: its author wants it to travel by value.
    """
    module = getattr(raw, "__module__", None)
    if raw is None or serialized or not isinstance(module, str) or is_by_value(module):
        return None
    code = getattr(raw, "__code__", None)
    if code is not None and code.co_filename.startswith("<"):
        return None  # typed in, or made by exec: it is in no file
    for name in _names_of(raw, module):
        if not is_only_here(module, name) and not _is_under_guard(raw, module):
            return Place(name_in_runners(module), name)
    return None


def _names_of(raw: Any, module: str) -> list[str]:
    """Names that the module has for it: its own, else any at the top."""
    if _is_it(found_at(module, raw.__qualname__), raw):
        return [raw.__qualname__]
    return [n for n, value in sorted(vars(sys.modules[module]).items()) if _is_it(value, raw)]


def _is_it(found: Any, raw: Any) -> bool:
    # Not isinstance: what stands in a module may be a proxy that acts on being looked at.
    if issubclass(type(found), Decorated):
        return found.undecorated is raw
    return found is raw


def _is_under_guard(raw: Any, module: str) -> bool:
    known = main_module.current()
    code = getattr(raw, "__code__", None)
    if known is None or module != known.here or code is None:
        return False
    if code.co_filename != getattr(sys.modules[module], "__file__", None):
        return False
    return any(code.co_firstlineno in lines for lines in main_module.guarded(known.file).lines)


def is_by_value(module_name: str | None) -> bool:
    """Whether what the module defines travels by value."""
    if module_name is None or module_name not in sys.modules:
        return True
    if module_name == "__main__":
        return main_module.current() is None
    if "cloudpickle" not in sys.modules:
        return False
    import cloudpickle

    registered = cloudpickle.list_registry_pickle_by_value()
    parts = module_name.split(".")
    return any(".".join(parts[:i]) in registered for i in range(1, len(parts) + 1))


def is_by_reference(value: Any) -> bool:
    """Whether a function or class can be, and is, sent as a name."""
    module_name = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or name is None or is_by_value(module_name):
        return False
    if is_only_here(module_name, name):
        return False
    return found_at(module_name, name) is value


def is_only_here(module_name: str, name: str) -> bool:
    """Whether it is defined where a runner does not run the program: under its guard."""
    known = main_module.current()
    if known is None or module_name != known.here:
        return False
    return name.split(".")[0] in main_module.guarded(known.file).names


def name_in_runners(module_name: str) -> str:
    """The name of a module in a runner."""
    known = main_module.current()
    return known.name if known is not None and module_name == known.here else module_name
