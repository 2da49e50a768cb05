"""One exception as a pickle that is known to come back as it was.

It is made without its ``__init__`` (bare_exceptions.py), unless its class says itself how it is
pickled and that loses nothing.

What was pickled is made again before it is sent, and shown. What cannot be pickled is left out, and
a note of the exception says so, as long as that shows the same without it.
Standard library and cloudpickle only: runners import this.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.wire.bare_exceptions import made_bare, set_state, slots_of
from rekindle.wire.pickling import dumps
from rekindle.wire.serialization import safe_repr, type_name
from rekindle.wire.usercode import text_of, why_not_shown

#: A part of a pickle that is too large as a whole travels when it takes no more than this.
_PART_BYTES = 256 * 1024
_KEPT_TEXT = 64 * 1024
_SCALARS = (str, bytes, int, float, bool, type(None))
_ADDRESS = re.compile("0x[0-9a-fA-F]+")


def pickled(exc: BaseException, limit_bytes: int, why_cut: str) -> tuple[bytes, str]:
    """Its pickle, which loads as ``exc`` or as ``Parts`` of it; of a group, without its members.
    Empty where nothing comes back as it was, with the reason.

    What is too large of it is left out, and a note of the exception says so; ``why_cut`` begins it.
    """
    failed = why_not_shown(exc)
    if failed:
        return b"", failed
    members = exc.exceptions if isinstance(exc, BaseExceptionGroup) else None
    if members is None:
        data = _whole(exc, limit_bytes)
        if data:
            return data, ""
    try:
        cut = _Cut(exc, limit_bytes)
        data = cut.pickled(why_cut)
        if len(data) > limit_bytes:  # of several parts
            cut = _Cut(exc, min(_PART_BYTES, limit_bytes))
            data = cut.pickled(why_cut)
            if len(data) > limit_bytes:
                return b"", "it is too large to come along"
        again = pickle.loads(data).make(members)
        return (b"", reason) if (reason := _what_is_lost(exc, again, cut)) else (data, "")
    except BaseException as error:  # noqa: BLE001 (a user's __setstate__ may raise anything)
        return b"", f"it could not be pickled remotely ({type(error).__name__}: {text_of(error)})"


def _whole(exc: BaseException, limit_bytes: int) -> bytes:
    """Its pickle; empty where that fails, makes another or is over the limit."""
    try:
        data = dumps(exc)
        if len(data) <= limit_bytes and _is_same(exc, pickle.loads(data)):
            return data
    except BaseException:  # noqa: BLE001 (a user's __reduce__ and __setstate__ may raise anything)
        return b""
    return b""


def _is_same(exc: BaseException, again: object) -> bool:
    return (
        type(again) is type(exc)
        and isinstance(again, BaseException)
        and _shows_the_same(exc, again)
        and len(again.args) >= len(exc.args)  # pydantic's has none before
        and all(map(_is_alike, exc.args, again.args))
        and _are_alike(vars(exc), vars(again))
        and _are_alike(slots_of(exc), slots_of(again))
    )


def _are_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() <= other.keys() and all(_is_alike(one[name], other[name]) for name in one)


def _is_alike(one: object, other: object) -> bool:
    """What can be said without the user's code: a value that was taken for another is found."""
    if type(one) not in _SCALARS and type(other) not in _SCALARS:
        return True
    return type(one) is type(other) and (one == other or one != one)


def _shows_the_same(exc: BaseException, again: BaseException) -> bool:
    """But for addresses; what never shows the same twice is not compared."""
    shown = _ADDRESS.sub("", str(exc))
    return _ADDRESS.sub("", str(again)) == shown or _ADDRESS.sub("", str(exc)) != shown


def _what_is_lost(exc: BaseException, again: BaseException, cut: _Cut) -> str:
    """Why what was made of parts will not do; empty where it will."""
    left = ", ".join(cut.unpicklable)
    behind = f", as {left} cannot be pickled" if left else ""
    if type(again) is not type(exc):
        return f"it would come back as a {type_name(type(again))}"
    if failed := why_not_shown(again):
        return f"as it would come back {failed}{behind}"
    if cut.too_large:
        return ""
    if not _shows_the_same(exc, again):
        return f"it would come back with another text{behind}"
    expected = {*vars(exc), *slots_of(exc)}
    found = {*vars(again), *slots_of(again), *cut.left_out}
    if len(again.args) != len(exc.args) or not expected <= found:
        lost = sorted(expected - found)
        return f"it would come back without {', '.join(lost) or 'its args'}{behind}"
    return ""


class _Cut:
    """Parts of an exception, none of them larger than ``part_bytes``."""

    def __init__(self, exc: BaseException, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        #: Names of parts in words, of attributes as they are.
        self.too_large: list[str] = []
        self.unpicklable: list[str] = []
        self.left_out: set[str] = set()
        given = exc.args
        if isinstance(exc, BaseExceptionGroup):
            given = (exc.message, *given[2:])  # the members travel by themselves
        args = tuple(self._argument(arg, f"args[{at}]") for at, arg in enumerate(given))
        state, slots = (self._carried(part) for part in (vars(exc), slots_of(exc)))
        self._parts = Parts(type(exc), args, state, slots)

    def pickled(self, why_cut: str) -> bytes:
        """Their pickle; ``why_cut``: see ``pickled``."""
        notes = []
        if self.too_large:
            notes.append(f"{why_cut}: {', '.join(self.too_large)}")
        if self.unpicklable:
            names = ", ".join(self.unpicklable)
            notes.append(f"rekindle: left where it was raised, as it cannot be pickled: {names}")
        if notes:
            state = self._parts.state
            state["__notes__"] = [*state.get("__notes__", ()), *notes]
        return dumps(self._parts)

    def _carried(self, state: dict[str, Any]) -> dict[str, Any]:
        carried = {name: one for name, one in state.items() if self._travels(one, f".{name}")}
        self.left_out.update(state.keys() - carried.keys())
        return carried

    def _argument(self, arg: Any, name: str) -> Any:
        return arg if self._travels(arg, name) else _as_short_text(arg)

    def _travels(self, value: object, name: str) -> bool:
        """Whether it can be pickled, unpickled again, and is not too large."""
        if type(value) in _SCALARS and type(value) not in (str, bytes):
            return True
        try:
            data = dumps(value)
            if len(data) > self._part_bytes:
                self.too_large.append(f"{name} ({type(value).__name__}, {len(data)} bytes)")
                return False
            pickle.loads(data)
        except BaseException:  # noqa: BLE001 (a user's __reduce__ may raise anything)
            self.unpicklable.append(f"{name} ({type_name(type(value))})")
            return False
        return True


def _as_short_text(arg: Any) -> str:
    text = arg if isinstance(arg, str) else safe_repr(arg)
    if len(text) <= _KEPT_TEXT:
        return text
    from rekindle.counted import counted

    return f"{text[:_KEPT_TEXT]} ... [{counted(len(text) - _KEPT_TEXT, 'character')} left out]"


# ---- without __init__ --------------------------------------------------------------------------


@dataclass
class Parts:
    """What makes an exception; of a group, ``args`` is without its members."""

    cls: type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]
    slots: dict[str, Any]

    def make(self, members: Sequence[BaseException] | None) -> BaseException:
        """The exception; ``members`` where it is a group."""
        args = self.args if members is None else (self.args[0], list(members), *self.args[1:])
        exc = made_bare(self.cls, args)
        set_state(exc, (self.state, self.slots))
        return exc
