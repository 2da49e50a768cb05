"""How failures look on the terminal: the user's own with their traceback, rekindle's as one line.

``REKINDLE_TRACEBACK=1`` shows everything.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import sysconfig
import traceback
from types import TracebackType

from rekindle.exception import Error
from rekindle.sdk.notes import painted
from rekindle.wire import switches
from rekindle.wire.exceptions import RemoteTraceback, remote_traceback

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = (sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep)
#: The first line of a frame; in a group, behind bars.
_FRAME = re.compile(r'([ |+-]*)File "([^"]+)", line ')
_HINT = "REKINDLE_TRACEBACK=1 shows where this was raised"


def show_failure(error: BaseException) -> None:
    """What a run ended with."""
    if isinstance(error, Error) and remote_traceback(error) is None:
        show_error(error)
    else:
        show_exception(error)


def show_error(error: Error) -> None:
    """An error of rekindle's own: ``Error: ...`` and a hint."""
    if switches.asks_for_tracebacks():
        _write("".join(traceback.format_exception(error)).rstrip())
        return
    _write(f"{_paint('Error:', '1;31')} {error}")
    place = _last_user_frame(error.__traceback__)
    # Of a kind that has no public name, that of which it is one: who catches it writes that.
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__[0] != "_")
    where = f"{name}, at {place}; " if place else f"{name}; "
    _write(_paint(where + _HINT, "2"))


def show_exception(error: BaseException) -> None:
    """An exception of the user's code, with the frames of the user's code."""
    if switches.asks_for_tracebacks():
        _write("".join(traceback.format_exception(error)).rstrip())
        return
    remote = remote_traceback(error)
    if remote is None:
        text = traceback.TracebackException.from_exception(error)
        _cut(text, error, set())
        _write("".join(text.format()).rstrip() + _near(error))
        return
    _write(_users_part(remote).rstrip())
    frames = _user_frames(error.__traceback__)
    if frames:
        _write(_paint("raised remotely; the call was made here:", "2"))
        _write("".join(traceback.StackSummary.from_list(frames).format()).rstrip())
    for note in getattr(error, "__notes__", []):
        if note not in remote:
            _write(note)


def _near(error: BaseException) -> str:
    """The name that was meant, where Python up to 3.11 says it only of what ends its program."""
    if sys.version_info >= (3, 12) or not isinstance(error, AttributeError):
        return ""
    if not error.name or error.obj is None or hasattr(error, "__notes__"):
        return ""
    from difflib import get_close_matches

    near = get_close_matches(error.name, dir(error.obj), n=1)
    return f". Did you mean: {near[0]!r}?" if near else ""


def _cut(text: traceback.TracebackException, error: BaseException, seen: set[int]) -> None:
    """Leave out rekindle's frames, and frames of the machinery of imports."""
    if id(text) in seen:
        return
    seen.add(id(text))
    text.stack = traceback.StackSummary.from_list([f for f in text.stack if _is_user(f.filename)])
    others = [(text.__cause__, error.__cause__), (text.__context__, error.__context__)]
    if isinstance(error, BaseExceptionGroup):
        others += zip(text.exceptions or (), error.exceptions, strict=False)
    for other, its in others:
        if other is not None and its is not None and not isinstance(its, RemoteTraceback):
            _cut(other, its, seen)


def _users_part(remote: str) -> str:
    """A remote traceback without our frames, and those of the standard library behind them."""
    kept, leaves_out, deeper = [], False, 0
    for line in remote.splitlines():
        if found := _FRAME.match(line):
            path = found[2]
            standard = path.startswith(_STDLIB) and "site-packages" not in path
            leaves_out = path.startswith(_PACKAGE) or (leaves_out and standard)
            deeper = len(found[1])
        elif leaves_out and not line[: deeper + 1].strip(" |"):
            continue  # the source of a frame
        elif line[: deeper + 1].strip(" |"):
            leaves_out = False
        if not leaves_out:
            kept.append(line)
    return "\n".join(kept)


def _user_frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """The frames of the user's own files: a call of ours goes through the standard library."""
    return [
        frame
        for frame in traceback.extract_tb(trace)
        if _is_user(frame.filename) and not frame.filename.startswith(_STDLIB)
    ]


def _last_user_frame(trace: TracebackType | None) -> str:
    frames = _user_frames(trace)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _is_user(filename: str) -> bool:
    # <string>: what dataclasses generate.
    if filename.startswith((_PACKAGE, "<frozen ")) or filename == "<string>":
        return False
    parts = filename.split(os.sep)
    return not ("click" in parts and "site-packages" in parts) and parts[-2:-1] != ["bin"]


def _paint(text: str, code: str) -> str:
    return painted(text, code, sys.stderr)


def _write(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it: the exit status says that there is one
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
