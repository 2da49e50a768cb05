"""Exceptions that are made again without their ``__init__``, out of their state.

They pickle as their class, called with their ``args``. That fails, or makes another one, where
``__init__`` takes other arguments than it passes on; it does a second time what that does; and it
loses what lies in slots. That is so for one that was raised, and for one that is a value or is held
by one: in a list of results, say. Standard library only: runners import this.
"""

from __future__ import annotations

import copyreg
import types
from typing import Any

#: Of the interpreter's own: the object that has no such attribute may be anything, of any size.
_NOT_CARRIED: set[tuple[type, str]] = {(AttributeError, "obj"), (ImportError, "name_from")}
#: By which a class says how its objects are pickled.
_PICKLING = (
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
    "__getnewargs__",
    "__getnewargs_ex__",
)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement


def reduced(exc: BaseException) -> Any:
    """How it is pickled; NotImplemented where its class says so itself, or is Python's own."""
    if _says_how(type(exc)):
        return NotImplemented
    state = dict(vars(exc)), slots_of(exc)
    return made_bare, (type(exc), exc.args), state, None, None, set_state


def made_bare(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception with these ``args``, and no more of its state."""
    # Not the user's __new__, which may take other arguments, too.
    base = next(one for one in cls.__mro__ if isinstance(vars(one).get("__new__"), _BUILT_IN))
    given = args[:2] if issubclass(cls, BaseExceptionGroup) else args
    exc: BaseException = base.__new__(cls, *given)
    object.__setattr__(exc, "args", args)  # past a __setattr__ of the user's
    return exc


_BUILT_IN = types.BuiltinFunctionType


def set_state(exc: BaseException, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Its attributes, and what lies in slots."""
    attributes, slots = state
    vars(exc).update(attributes)
    members = {
        name: member
        for cls in reversed(type(exc).__mro__)
        for name, member in vars(cls).items()
        if isinstance(member, types.MemberDescriptorType)
    }
    for name, value in slots.items():
        if name in members:
            try:
                members[name].__set__(exc, value)
            except (AttributeError, TypeError):  # the interpreter's, to be read only
                continue


def slots_of(exc: BaseException) -> dict[str, Any]:
    """What lies in slots: of the user's classes, and of the interpreter's (``OSError.errno``)."""
    found: dict[str, Any] = {}
    for cls in type(exc).__mro__:
        if cls in (BaseException, BaseExceptionGroup):
            continue
        for name, member in vars(cls).items():
            if not isinstance(member, types.MemberDescriptorType) or (cls, name) in _NOT_CARRIED:
                continue
            try:
                value = member.__get__(exc, cls)
            except (AttributeError, TypeError):  # never set
                continue
            # The interpreter's have None where nothing was set; that of a class is a value.
            is_set = value is not None or cls.__flags__ & _HEAP_TYPE
            if is_set and name not in found:
                found[name] = value
    return found


def _says_how(cls: type) -> bool:
    """Whether a class of exceptions has a way of its own to be pickled, or is Python's own."""
    if cls in copyreg.dispatch_table or not cls.__flags__ & _HEAP_TYPE:
        return True
    return any(
        name in vars(one)
        for one in cls.__mro__
        if one.__module__ != "builtins"
        for name in _PICKLING
    )
