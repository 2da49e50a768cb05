"""Pickles that name a value: equal in each process and each Python for equal values.

Without a memo, so that whether two parts are one object does not show. Sets in one order. Paths, of
which 3.13 and 3.14 pickle what they were made from, by their parts; their classes by the names that
all Pythons have. Classes of a program's ``__main__`` by their names, which a notebook's runner has
no module for. What goes by value (a class that is defined in a function) has no such form, and is
refused: its code is another for each Python. Nothing reads these pickles.
"""

from __future__ import annotations

import io
import pickle
from pathlib import PurePath
from types import FunctionType
from typing import Any

from rekindle.exception import InvalidError
from rekindle.wire import pickling
from rekindle.wire.serialization import serialize
from rekindle.wire.usercode import came_by_signal, text_of

#: Modules whose objects pickle themselves alike everywhere, and hold no sets and no paths: these go
#: at the speed of C.
_ALIKE = frozenset(
    {"builtins", "copyreg", "datetime", "decimal", "fractions", "ipaddress", "pathlib"}
    | {"re", "uuid", "zoneinfo"}
)


class _OtherFormError(Exception):
    """There is something in a value that pickle itself may not pickle alike everywhere."""


class _QuickPickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        named = value if isinstance(value, (type, FunctionType)) else type(value)
        if named.__module__ not in _ALIKE or pickling.name_for_all(named) is not None:
            raise _OtherFormError
        return _path(value)


def _path(value: Any) -> Any:
    """How a path is pickled; NotImplemented for anything else."""
    if isinstance(value, PurePath) and type(value).__reduce__ is PurePath.__reduce__:
        return type(value), value.parts
    return NotImplemented


#: pickle's own in Python: what it is made of has no types.
_InPython: Any = pickle._Pickler


class _Pickler(_InPython):  # type: ignore[misc]
    """In Python, as pickle's own in C asks nobody about sets and about names."""

    def reducer_override(self, value: Any) -> Any:
        return _path(value)

    def save_global(self, value: Any, name: str | None = None) -> None:
        module, known = getattr(value, "__module__", None), name or value.__qualname__
        for_all = pickling.name_for_all(value) if isinstance(value, type) else None
        if for_all is not None:
            module, known = for_all
        elif module != "__main__" or "<locals>" in known:
            super().save_global(value, name)
            return
        self.save(module)
        self.save(known)
        self.write(pickle.STACK_GLOBAL)

    def save_frozenset(self, value: frozenset[Any]) -> None:
        super().save_frozenset(sorted(value, key=pickled))

    def save_set(self, value: set[Any]) -> None:
        super().save_set(sorted(value, key=pickled))

    dispatch = {
        **_InPython.dispatch,
        FunctionType: save_global,
        frozenset: save_frozenset,
        set: save_set,
    }


def pickled(key: Any) -> bytes:
    """The bytes. Raises SerializationError, InvalidError."""
    buffer = io.BytesIO()
    quick = _QuickPickler(buffer, pickling.PROTOCOL)
    quick.fast = True  # no memo
    try:
        quick.dump(key)
        return buffer.getvalue()
    except Exception as error:  # the other one does it, or says why not
        if came_by_signal(error):
            raise
    buffer = io.BytesIO()
    other = _Pickler(buffer, pickling.PROTOCOL)
    other.fast = True
    try:
        other.dump(key)
        return buffer.getvalue()
    except RecursionError as error:
        raise InvalidError(
            "a key of a Dict must not contain itself, directly or by what it holds"
        ) from error
    except Exception as error:
        if came_by_signal(error):
            raise
        serialize(key, "the key")  # raises, with the part that cannot be pickled
        raise InvalidError(
            f"a key of a Dict must be pickled by names alone, so that other processes find it: "
            f"{text_of(error)}. Define what it is made of at the top level of a module, or take a "
            f"tuple of the values in it as the key"
        ) from error
