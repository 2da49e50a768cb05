"""Exceptions on their way to the caller: recorded where they were raised, rebuilt at home.

Standard library and cloudpickle only: runners import this. Knows nothing of calls.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rekindle.exception import RemoteError
from rekindle.wire.serialization import dumps, failure_of, safe_repr, type_name

_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Frames of these at the top of a traceback say nothing about the user's program.
_MACHINERY = (_PACKAGE_DIR, "<frozen importlib")


@dataclass(frozen=True)
class ExceptionRecord:
    """An exception on its way to the caller.

    ``data`` is its pickle, or empty where it cannot be pickled; ``type_name`` is dotted.
    """

    data: bytes
    type_name: str
    message: str
    traceback: str


class RemoteTraceback(Exception):
    """The ``__cause__`` of an exception that came from a runner; its text is the traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


def record_exception(
    exc: BaseException, *, skip_frames_in: tuple[str, ...] = ()
) -> ExceptionRecord:
    """Turn a raised exception into what travels.

    The traceback text leaves out rekindle's own leading frames, and leading frames of files whose
    path starts with one of ``skip_frames_in``.
    """
    return ExceptionRecord(
        data=_pickle_exception(exc),
        type_name=type_name(type(exc)),
        message=_text_of(exc),
        traceback=_format(exc, _MACHINERY + skip_frames_in),
    )


def rebuild_exception(record: ExceptionRecord) -> BaseException:
    """The exception to raise at home: of the same type, with the remote traceback as its cause.

    A RemoteError with the text where it cannot be rebuilt here.
    """
    exc: BaseException | None = None
    reason = "it could not be pickled remotely"
    if record.data:
        try:
            loaded = pickle.loads(record.data)
        except Exception as error:  # noqa: BLE001 (a user's __init__ may raise anything)
            reason = f"it could not be unpickled here ({type(error).__name__}: {error})"
        else:
            if isinstance(loaded, BaseException):
                exc = loaded
            else:
                reason = f"it unpickled to a {type(loaded).__name__}"
    if exc is None:
        exc = RemoteError(f"{record.type_name}: {record.message} [{reason}]")
    if record.traceback:
        exc.__cause__ = RemoteTraceback(record.traceback)
    return exc


def remote_traceback(exc: BaseException) -> str | None:
    """The remote traceback text that ``rebuild_exception`` attached, if any."""
    cause = exc.__cause__
    return cause.text if isinstance(cause, RemoteTraceback) else None


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as error:  # noqa: BLE001 (a user's __str__ may raise anything)
        return f"<str() of it failed: {type(error).__name__}: {error}>"


def _pickle_exception(exc: BaseException) -> bytes:
    """Pickle so that the type survives; what cannot be pickled of its attributes is left out."""
    try:
        data = dumps(exc)
        if type(pickle.loads(data)) is type(exc):
            return data
    except Exception:  # noqa: BLE001, S110 (the ways below are for exactly this)
        pass
    # An __init__ that takes other arguments than it passed on, or attributes that cannot travel.
    args = tuple(arg if failure_of(arg) is None else safe_repr(arg) for arg in exc.args)
    state = {name: value for name, value in vars(exc).items() if failure_of(value) is None}
    try:
        data = dumps(_ByParts(type(exc), args, state))
        pickle.loads(data)
    except Exception:  # noqa: BLE001 (then only its text travels)
        return b""
    return data


@dataclass
class _ByParts:
    """Pickles to a call that makes the exception without its ``__init__``."""

    cls: type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]

    def __reduce__(self) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
        return _from_parts, (self.cls, self.args, self.state)


def _from_parts(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    exc = cls.__new__(cls, *args)
    exc.args = args
    vars(exc).update(state)
    return exc


def _format(exc: BaseException, skip: tuple[str, ...]) -> str:
    text = traceback.TracebackException.from_exception(exc)
    _trim(text, skip, set())
    return "".join(text.format())


def _trim(text: traceback.TracebackException, skip: tuple[str, ...], seen: set[int]) -> None:
    if id(text) in seen:
        return
    seen.add(id(text))
    frames = list(text.stack)
    while frames and frames[0].filename.startswith(skip):
        frames.pop(0)
    text.stack = traceback.StackSummary.from_list(frames)
    for other in (text.__cause__, text.__context__, *(text.exceptions or ())):
        if other is not None:
            _trim(other, skip, seen)
