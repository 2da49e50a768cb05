"""What inputs print side by side: each line goes out whole, with the call that it belongs to.

``sys.stdout`` and ``sys.stderr`` become streams that collect the lines of each input for
themselves. What is printed outside of inputs, in threads of the user's, or by C code, goes out as
it comes and belongs to no call.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from contextvars import ContextVar
from typing import Any

from rekindle.wire.page import tagged

_lock = threading.Lock()


class Prints:
    """The output of one input."""

    __slots__ = ("call_id", "parts", "printed")

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.printed = False
        #: What has no end of line yet, by descriptor.
        self.parts: dict[int, str] = {}

    def write(self, fd: int, text: str) -> None:
        """Send the lines that are complete."""
        whole, newline, rest = (self.parts.get(fd, "") + text).rpartition("\n")
        self.parts[fd] = rest
        if newline:
            self._send(fd, whole.split("\n"))

    def finish(self) -> None:
        """The input has ended: what it printed last is a line."""
        for fd, rest in self.parts.items():
            if rest:
                self._send(fd, [rest])
        self.parts.clear()

    def _send(self, fd: int, lines: list[str]) -> None:
        self.printed = True
        data = b"".join(
            tagged(self.call_id, line.encode("utf-8", "backslashreplace")) for line in lines
        )
        with _lock:
            while data:
                data = data[os.write(fd, data) :]


#: The output of the input that runs here.
current: ContextVar[Prints | None] = ContextVar("rekindle_prints", default=None)


class _Stream(io.TextIOBase):
    """What user code prints to; all but writing is the original's."""

    def __init__(self, original: Any, fd: int) -> None:
        self._original = original
        self._fd = fd

    def write(self, text: str) -> int:
        prints = current.get()
        if prints is None:
            with _lock:
                return int(self._original.write(text))
        prints.write(self._fd, text)
        return len(text)

    def flush(self) -> None:
        with _lock:
            self._original.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def install() -> None:
    """From now on lines say whose they are."""
    sys.stdout = _Stream(sys.stdout, 1)
    sys.stderr = _Stream(sys.stderr, 2)
