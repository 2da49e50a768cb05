"""Exceptions on their way to the caller: recorded where they were raised, rebuilt at home.

An exception travels with those that it is linked to: members of groups, causes, contexts. Each is
pickled by itself, so one that cannot travel costs no other. Standard library and cloudpickle only:
runners import this. Knows nothing of calls.
"""

from __future__ import annotations

import pickle
from typing import NamedTuple

from rekindle.exception import RemoteError, RemoteExitError, a_or_an
from rekindle.wire.exceptionparts import Parts, pickled
from rekindle.wire.serialization import safe_repr, type_name
from rekindle.wire.tracebacks import RemoteTraceback, attach, remote_traceback, traceback_text
from rekindle.wire.usercode import came_by_signal, text_of, why_not_shown

__all__ = [
    "ExceptionRecord",
    "RemoteTraceback",
    "attach",
    "carried",
    "rebuild_exception",
    "record_exception",
    "remote_traceback",
]

#: Exceptions that travel with one; the text mentions those beyond.
_MAX_LINKED = 500
#: The texts of a record, in characters; what is beyond is left out of the middle, and it is said.
MAX_MESSAGE, _LEAST_MESSAGE = 64 * 1024, 64
MAX_TRACEBACK = 512 * 1024
#: Of all pickles of a record, unless its maker has another limit: beyond, long parts are left out.
MAX_PICKLE_BYTES = 16 << 20
#: Around each pickle in a record.
_NODE_BYTES = 256

#: One exception in a record: its pickle (empty where there is none), its type, its text, the
#: numbers of its members (None: no group), of its cause and of its context (-1: none), and whether
#: the context is suppressed. Only built-in types: what is around the pickles can always be read.
_Node = tuple[bytes, str, str, list[int] | None, int, int, bool]


class ExceptionRecord(NamedTuple):
    """An exception on its way to the caller.

    ``data`` is it and those that it is linked to, pickled; ``type_name`` is dotted.
    """

    data: bytes
    type_name: str
    message: str
    traceback: str

    def description(self) -> dict[str, str]:
        """All but the pickle, by the names that it has in frames."""
        return {
            "error_type": self.type_name,
            "message": self.message,
            "traceback": self.traceback,
        }


# ---- where it was raised -----------------------------------------------------------------------


def record_exception(
    exc: BaseException,
    *,
    skip_frames_in: tuple[str, ...] = (),
    limit_bytes: int = MAX_PICKLE_BYTES,
) -> ExceptionRecord:
    """Turn a raised exception into what travels. Raises nothing, whatever its code does.

    The traceback text leaves out rekindle's own leading frames, and leading frames of files whose
    path starts with one of ``skip_frames_in``. ``limit_bytes`` is for ``data``: parts that it has
    no room for are left out, and the exception says which.
    """
    name, message = type_name(type(exc)), _text_of(exc)
    try:
        data = pickle.dumps(_nodes(exc, limit_bytes), 5)
    except BaseException:  # noqa: BLE001 (a user's code may raise anything; then only text travels)
        data = b""
    return ExceptionRecord(data, name, message, _format(exc, skip_frames_in))


def _linked_to(exc: BaseException) -> list[tuple[BaseException, tuple[list[int] | None, int, int]]]:
    """``exc`` and all that it leads to, with the numbers that its links have in this list."""
    found: list[BaseException] = [exc]
    number = {id(exc): 0}

    def number_of(other: BaseException | None) -> int:
        if other is None or isinstance(other, RemoteTraceback):
            return -1  # of a call in a call: its text is part of ours
        if id(other) not in number:
            if len(found) >= _MAX_LINKED:
                return -1
            number[id(other)] = len(found)
            found.append(other)
        return number[id(other)]

    out: list[tuple[BaseException, tuple[list[int] | None, int, int]]] = []
    while len(out) < len(found):
        one = found[len(out)]
        members = None
        if isinstance(one, BaseExceptionGroup):
            members = [n for member in one.exceptions if (n := number_of(member)) >= 0]
        out.append((one, (members, number_of(one.__cause__), number_of(one.__context__))))
    return out


def _nodes(exc: BaseException, limit_bytes: int) -> list[_Node]:
    """``exc`` and those that it leads to. What was raised has the first of the room."""
    linked = _linked_to(exc)
    # All texts together: half of the room.
    longest = max(_LEAST_MESSAGE, min(MAX_MESSAGE, limit_bytes // (8 * len(linked))))
    texts = [_text_of(one, longest) for one, _ in linked]
    left = limit_bytes - sum(len(text.encode("utf-8", "replace")) + _NODE_BYTES for text in texts)
    why = f"rekindle: too large to come along, as an exception takes at most {limit_bytes} bytes"
    found: list[_Node] = []
    for (one, (members, cause, context)), text in zip(linked, texts, strict=True):
        name = type_name(type(one))
        data, reason = pickled(one, left, why)
        if not data and members is None:
            # A group that cannot be made again is one of no class of its own, with its members.
            lost = pickle.dumps(_as_text(name, text, reason), 5)
            data = lost if len(lost) <= left else b""
        left -= len(data)
        found.append((data, name, text, members, cause, context, one.__suppress_context__))
    return found


def _text_of(exc: BaseException, longest: int = MAX_MESSAGE) -> str:
    try:
        text = f"sys.exit({exc.code!r})" if isinstance(exc, SystemExit) else str(exc)
        return _shortened(text, longest)
    except BaseException as error:  # noqa: BLE001 (a user's __str__ may raise anything)
        return f"<str() of it failed: {type(error).__name__}: {safe_repr(error)}>"


def _format(exc: BaseException, skip: tuple[str, ...]) -> str:
    try:
        return _shortened(traceback_text(exc, skip), MAX_TRACEBACK)
    except BaseException as error:  # noqa: BLE001 (it calls code of the user's)
        shown = f"{type_name(type(exc))}: {_text_of(exc)}"
        return f"{shown}\n(its traceback could not be formatted: {type(error).__name__})\n"


def _shortened(text: str, limit: int) -> str:
    """At most so many characters, all of which can be written as UTF-8."""
    left_out = len(text) - limit
    if left_out > 0:
        from rekindle.counted import counted

        half = limit // 2
        text = f"{text[:half]} ... [{counted(left_out, 'character')} left out] ... {text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


# ---- at home -----------------------------------------------------------------------------------


def rebuild_exception(record: ExceptionRecord) -> Exception:
    """The exception to raise at home: of the same type, with all that it was linked to.

    The remote traceback is its cause, or the cause of the last of its causes. What would end the
    caller's program comes as a RemoteExitError; a RemoteError with the text where it cannot be
    rebuilt here.
    """
    exc = _rebuild(record)
    if record.traceback:
        attach(exc, record.traceback)
    return exc if isinstance(exc, Exception) else carried(exc)


def carried(exc: BaseException) -> RemoteExitError:
    """An error of ours around one that must not be raised where the caller is."""
    name, text = type_name(type(exc)), _text_of(exc)
    error = RemoteExitError(
        f"{name}{': ' + text if text else ''} (raised remotely; it ended the call, and would end "
        f"more than that if it were raised here: .original has it)",
        exc,
    )
    error.type_name, error.message = name, text
    error.__cause__ = exc
    return error


def _rebuild(record: ExceptionRecord) -> BaseException:
    if not record.data:
        return _as_text(record.type_name, record.message, "it could not be pickled remotely")
    try:
        nodes: list[_Node] = pickle.loads(record.data)
        if not isinstance(nodes, list):
            raise TypeError(f"it unpickled to {a_or_an(type(nodes))}")
        made = _make_all(nodes)
    except BaseException as error:
        if came_by_signal(error):
            raise
        reason = f"it could not be unpickled here ({type(error).__name__}: {text_of(error)})"
        return _as_text(record.type_name, record.message, reason)
    linked = [*made, None]  # the last one for -1
    for exc, (*_, cause, context, suppressed) in zip(made, nodes, strict=True):
        _link(exc, linked[cause], linked[context], suppressed)
        if isinstance(exc, RemoteExitError):
            exc.original = exc.__cause__
    return made[0]


def _link(
    exc: BaseException,
    cause: BaseException | None = None,
    context: BaseException | None = None,
    suppressed: bool | None = None,
) -> None:
    """Set the links that are given, past a ``__setattr__`` of the user's (frozen dataclasses)."""
    if suppressed is None:
        suppressed = exc.__suppress_context__
    if cause is not None:
        object.__setattr__(exc, "__cause__", cause)
    if context is not None:
        object.__setattr__(exc, "__context__", context)
    object.__setattr__(exc, "__suppress_context__", suppressed)


def _make_all(nodes: list[_Node]) -> list[BaseException]:
    """All exceptions of a record, not linked yet; members before their groups."""
    made: dict[int, BaseException] = {}
    left = list(range(len(nodes)))
    while left:
        number = left[-1]
        members = nodes[number][3]
        missing = [m for m in members or () if m not in made]
        if number in made:
            left.pop()
        elif missing:
            left.extend(missing)
        else:
            group = None if members is None else [made[m] for m in members]
            made[number] = _make(nodes[number], group)
            left.pop()
    return [made[number] for number in range(len(nodes))]


def _make(node: _Node, members: list[BaseException] | None) -> BaseException:
    data, name, text = node[:3]
    reason = "it could not be pickled remotely"
    if data:
        try:
            exc = pickle.loads(data)
            if isinstance(exc, Parts):
                exc = exc.make(members)
            if not isinstance(exc, BaseException):
                reason = f"it unpickled to {a_or_an(type(exc))}"
            elif not (reason := why_not_shown(exc)):
                return exc
        except BaseException as error:
            if came_by_signal(error):
                raise  # the caller's own Ctrl-C
            reason = f"it could not be unpickled here ({type(error).__name__}: {text_of(error)})"
    lost = _as_text(name, text, reason)
    if members:
        return BaseExceptionGroup(str(lost), members)
    return lost


def _as_text(name: str, message: str, reason: str) -> RemoteError:
    text = f"{name}: {message} [{reason}]" if message else f"{name} [{reason}]"
    return RemoteError(text, type_name=name, message=message)
