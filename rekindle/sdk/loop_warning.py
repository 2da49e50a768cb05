"""Warns by the user's line; where a call blocks an event loop, with the line to write instead.

Standard library only, and only of what is loaded: a program without asyncio pays one look.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
import warnings
from types import FrameType
from typing import Any, NamedTuple

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
    said, call = _with_aio(frame, what) or (f".{what}()", f"....{what}.aio(...)")
    iterates = iterates or call.endswith(".keys.aio()")  # list() asks for the length, too
    instead = f"async for item in {call}:" if iterates else f"await {call}"
    warn_at(frame, said, instead)


def warn_of_with(what: str, instead: str) -> None:
    """The same of a ``with`` block."""
    warn_at(_caller(), what, instead)


def warn_at(frame: FrameType, what: str, instead: str) -> None:
    """Warn of a line of the user's program."""
    text = f"{what} blocks the event loop that runs here until it is done. Write: {instead}"
    Place.of(frame).warn(text, AsyncUsageWarning)


class Place(NamedTuple):
    """A line of the user's program, which need not run any more."""

    file: str
    line: int
    globals: dict[str, Any]

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
            self.file,
            self.line,
            self.globals.get("__name__", "?"),
            self.globals.setdefault("__warningregistry__", {}),
        )


def _caller() -> FrameType:
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE


def _with_aio(frame: FrameType, what: str) -> tuple[str, str] | None:
    """What in the line calls ``.what()`` now, and the same in its asyncio form.

    None where that is not known.
    """
    positions = frame.f_code.co_positions()
    line, last_line, begin, end = next(
        itertools.islice(positions, frame.f_lasti // 2, None), (None, None, None, None)
    )
    if line is None or begin is None or end is None:
        return None
    raw = linecache.getline(frame.f_code.co_filename, line).encode()
    if line != last_line:
        return _of_loop(raw.decode().strip()) if what == "keys" else None
    try:
        found = ast.parse(raw[begin:end], mode="eval").body
    except (SyntaxError, ValueError):
        return None  # the file has changed since it was loaded
    if isinstance(found, ast.Call) and _is_of(found.func, what, frame):
        at = begin + (found.func.end_col_offset or 0)
        return f".{what}()", (raw[begin:at] + b".aio" + raw[at:end]).decode()
    return _of_operator(found, what, raw[begin:end].decode(), raw.decode().strip())


def _is_of(called: ast.expr, what: str, frame: FrameType) -> bool:
    if isinstance(called, ast.Name):
        named = frame.f_locals.get(called.id, frame.f_globals.get(called.id))
        return hasattr(named, "aio")
    return isinstance(called, ast.Attribute) and called.attr == what


def _of_operator(found: ast.expr, what: str, text: str, line: str) -> tuple[str, str] | None:
    """What Python calls it for: ``d[key]``, ``key in d``, ``len(d)``, ``for key in d``."""
    said, args = text, []
    match found:
        case ast.Subscript(value=on, slice=key):
            args = [_source(text, key)]
            if what == "put":
                said, value = _assignment(line, found)
                args.append(value)
        case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[on]):
            args = [_source(text, key)]
        case ast.Call(func=called, args=[on], keywords=[]):
            if _source(text, called) != "len":
                what = "keys"  # list() asks for its length, too
        case _:  # the whole statement before Python 3.13, what it goes over from then on
            return _of_loop(line) if what == "keys" else None
    return f"`{said}`", f"{_source(text, on)}.{what}.aio({', '.join(args)})"


def _of_loop(line: str) -> tuple[str, str] | None:
    """The same of ``for key in d:``, which stands for all that is below it, too."""
    try:
        statements = ast.parse(f"{line} pass").body
    except SyntaxError:
        return None
    match statements:
        case [ast.For(iter=on)]:
            return f"`{line.rstrip(':')}`", f"{_source(line, on)}.keys.aio()"
    return None


def _assignment(line: str, target: ast.expr) -> tuple[str, str]:
    """The statement that gives something to a target, and what."""
    try:
        statements = ast.parse(line).body
    except SyntaxError:  # it goes over several lines
        statements = []
    match statements:
        case [ast.Assign(targets=[one], value=value)] if ast.unparse(one) == ast.unparse(target):
            return line, _source(line, value)
    return f"{ast.unparse(target)} = ...", "..."


def _source(text: str, node: ast.expr) -> str:
    return ast.get_source_segment(text, node) or ast.unparse(node)
