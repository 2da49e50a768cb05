"""Remembers where in the user's code a socket was connected or bound.

A template with an open connection can neither be forked nor frozen; its owner wants to know which
line opened it. Recorded only while a template loads.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

_opened_at: dict[int, str] = {}
_originals: dict[str, Callable[..., Any]] = {}


def track() -> None:
    """Start recording."""
    for name in ("connect", "connect_ex", "bind"):
        original = getattr(socket.socket, name)
        _originals[name] = original
        setattr(socket.socket, name, _recording(original))


def untrack() -> None:
    """Stop recording; what was recorded stays."""
    while _originals:
        name, original = _originals.popitem()
        setattr(socket.socket, name, original)


def opened_at(fd: int) -> str:
    """``file:line in function`` of the code that opened ``fd``, or an empty string."""
    return _opened_at.get(fd, "")


def _recording(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: socket.socket, *args: Any) -> Any:
        _opened_at[self.fileno()] = _first_user_line()
        return original(self, *args)

    return method


def _first_user_line() -> str:
    """The innermost frame outside installed packages and the standard library, else the caller."""
    frame = sys._getframe(2)
    nearest = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
    prefixes = (sys.base_prefix, sys.prefix, "<frozen")
    current = frame
    while current is not None:
        file = current.f_code.co_filename
        if not file.startswith(prefixes) and "/rekindle/" not in file:
            return f"{file}:{current.f_lineno} in {current.f_code.co_name}"
        if current.f_back is None:
            break
        current = current.f_back
    return nearest
