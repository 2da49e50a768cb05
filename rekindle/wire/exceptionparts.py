"""One exception as a pickle: by its own way where that is true to it, else by its parts.

Exceptions pickle as their class, called with their ``args``. That fails, or makes another one,
where ``__init__`` takes other arguments than it passes on, and it loses what lies in slots. By its
parts an exception is made without its ``__init__``, and has what of its state can travel.
Standard library and cloudpickle only: runners import this.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.wire.pickling import dumps
from rekindle.wire.serialization import safe_repr

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
#: A part of a pickle that is too large as a whole travels when it takes no more than this.
_PART_BYTES = 256 * 1024
_KEPT_TEXT = 64 * 1024
#: Of the interpreter's own: the object that has no such attribute may be anything, of any size.
_NOT_CARRIED: set[tuple[type, str]] = {(AttributeError, "obj"), (ImportError, "name_from")}


def pickle_whole(exc: BaseException, limit_bytes: int) -> bytes:
    """Its pickle, by its own way; empty where that fails, makes another or is over the limit."""
    try:
        data = dumps(exc)
        if len(data) > limit_bytes:
            return b""
        again = pickle.loads(data)
        return data if _is_same(exc, again) else b""
    except BaseException:  # noqa: BLE001 (a user's __reduce__ and __init__ may raise anything)
        return b""


def _is_same(exc: BaseException, again: object) -> bool:
    return (
        type(again) is type(exc)
        and isinstance(again, BaseException)
        and str(again) == str(exc)
        and len(again.args) == len(exc.args)
        and vars(again).keys() == vars(exc).keys()
        and _slots(again).keys() == _slots(exc).keys()
    )


def pickle_parts(exc: BaseException, limit_bytes: int, why: str) -> bytes:
    """A pickle of what makes it without its ``__init__``; empty where not even that can be.

    What is too large of it is left out, and a note of the exception says so; ``why`` begins it.
    """
    try:
        data = _Cut(exc, limit_bytes).pickled(why)
        if len(data) > limit_bytes:  # of several parts
            data = _Cut(exc, min(_PART_BYTES, limit_bytes)).pickled(why)
            if len(data) > limit_bytes:
                return b""
        pickle.loads(data).make(exc.exceptions if isinstance(exc, BaseExceptionGroup) else None)
    except BaseException:  # noqa: BLE001 (then only its text travels)
        return b""
    return data


class _Cut:
    """Parts of an exception, none of them larger than ``part_bytes``."""

    def __init__(self, exc: BaseException, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._left_out: list[str] = []
        given = exc.args
        if isinstance(exc, BaseExceptionGroup):
            given = (exc.message, *given[2:])  # the members travel by themselves
        args = tuple(self._argument(arg, f"args[{at}]") for at, arg in enumerate(given))
        state, slots = (self._carried(part) for part in (vars(exc), _slots(exc)))
        self._parts = Parts(type(exc), args, state, slots)

    def pickled(self, why: str) -> bytes:
        """Their pickle; ``why``: see ``pickle_parts``."""
        if self._left_out:
            state = self._parts.state
            note = f"{why}: {', '.join(self._left_out)}"
            state["__notes__"] = [*state.get("__notes__", ()), note]
        return dumps(self._parts)

    def _carried(self, state: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in state.items() if self._travels(value, f".{name}")}

    def _argument(self, arg: Any, name: str) -> Any:
        return arg if self._travels(arg, name) else _as_short_text(arg)

    def _travels(self, value: object, name: str) -> bool:
        """Whether it can be pickled, unpickled again, and is not too large."""
        try:
            data = dumps(value)
            if len(data) > self._part_bytes:
                self._left_out.append(f"{name} ({type(value).__name__}, {len(data)} bytes)")
                return False
            pickle.loads(data)
        except BaseException:  # noqa: BLE001 (a user's __reduce__ may raise anything)
            return False
        return True


def _as_short_text(arg: Any) -> str:
    text = arg if isinstance(arg, str) else safe_repr(arg)
    if len(text) <= _KEPT_TEXT:
        return text
    return f"{text[:_KEPT_TEXT]} ... [{len(text) - _KEPT_TEXT} characters left out]"


def _slots(exc: BaseException) -> dict[str, Any]:
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
            if value is not None and name not in found:
                found[name] = value
    return found


@dataclass
class Parts:
    """What makes an exception; of a group, ``args`` is without its members."""

    cls: type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]
    slots: dict[str, Any]

    def make(self, members: Sequence[BaseException] | None) -> BaseException:
        """The exception; ``members`` where it is a group."""
        args = given = self.args
        if members is None:
            # Not the user's __new__, which may take other arguments, too.
            base = next(one for one in self.cls.__mro__ if not one.__flags__ & _HEAP_TYPE)
        else:
            base, given = BaseExceptionGroup, (args[0], list(members))
            args = (*given, *args[1:])
        exc: BaseException = base.__new__(self.cls, *given)
        object.__setattr__(exc, "args", args)  # past a __setattr__ of the user's
        _set(exc, self.state, self.slots)
        return exc


def _set(exc: BaseException, state: dict[str, Any], slots: dict[str, Any]) -> None:
    vars(exc).update(state)
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
