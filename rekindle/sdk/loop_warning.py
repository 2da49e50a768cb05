"""Warns by the user's line; where a call blocks an event loop, with the line to write instead.

Standard library only, and only of what is loaded: a program without asyncio pays one look.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
import warnings
from dataclasses import dataclass
from types import FrameType
from typing import Any

from rekindle.exception import AsyncUsageWarning

_PACKAGE = __name__.partition(".")[0]


def loop_runs() -> bool:
    """Whether an event loop runs in this thread."""
    # Another thread may be importing it just now: what it lacks yet, no loop of ours runs by.
    running = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    return running is not None and running() is not None


def warn(what: str, *, iterates: bool) -> None:
    """Warn of a call of ``.what()`` by the first frame that is not ours; once for each line."""
    frame = _caller()
    call = _with_aio(frame, what) or f"....{what}.aio(...)"
    instead = f"async for item in {call}:" if iterates else f"await {call}"
    warn_at(frame, f".{what}()", instead)


def warn_of_with(what: str, instead: str) -> None:
    """The same of a ``with`` block."""
    warn_at(_caller(), what, instead)


def warn_at(frame: FrameType, what: str, instead: str) -> None:
    """Warn of a line of the user's program."""
    text = f"{what} blocks the event loop that runs here until it is done. Write: {instead}"
    Place.of(frame).warn(text, AsyncUsageWarning)


@dataclass(slots=True)
class Place:
    """A line of the user's program, which need not run any more."""

    _file: str
    _line: int
    _globals: dict[str, Any]

    @classmethod
    def of(cls, frame: FrameType) -> Place:
        """Where a frame is now."""
        return cls(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)

    @classmethod
    def of_caller(cls) -> Place:
        """Where the first frame is that is not ours."""
        return cls.of(_caller())

    def warn(self, text: str, category: type[Warning]) -> None:
        """Warn of it; of one line once."""
        warnings.warn_explicit(
            text,
            category,
            self._file,
            self._line,
            self._globals.get("__name__", "?"),
            self._globals.setdefault("__warningregistry__", {}),
        )


def _caller() -> FrameType:
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE


def _with_aio(frame: FrameType, what: str) -> str:
    """The call of ``.what()`` that is made now, as it stands in its line, in its asyncio form.

    "" where it is not known, and where something else calls it: ``d[key]``, ``len(d)``.
    """
    positions = frame.f_code.co_positions()
    line, last_line, begin, end = next(
        itertools.islice(positions, frame.f_lasti // 2, None), (None, None, None, None)
    )
    if line is None or line != last_line or begin is None or end is None:
        return ""
    raw = linecache.getline(frame.f_code.co_filename, line).encode()[begin:end]
    try:
        call = ast.parse(raw, mode="eval").body
    except (SyntaxError, ValueError):
        return ""  # the file has changed since it was loaded
    if not isinstance(call, ast.Call) or call.func.end_col_offset is None:
        return ""
    if isinstance(call.func, ast.Name):
        named = frame.f_locals.get(call.func.id, frame.f_globals.get(call.func.id))
        is_it = hasattr(named, "aio")
    else:
        is_it = isinstance(call.func, ast.Attribute) and call.func.attr == what
    if not is_it:
        return ""
    at = call.func.end_col_offset
    return (raw[:at] + b".aio" + raw[at:]).decode()
