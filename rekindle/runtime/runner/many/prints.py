"""What inputs print side by side: each line goes out whole, with the call that it belongs to.

``sys.stdout`` and ``sys.stderr`` become streams that collect the lines of each input for
themselves: before user code, so that what it sets up at import (a handler of ``logging``) writes to
them, too. What is printed outside of inputs, in threads of the user's, or by C code, goes out as it
comes and belongs to no call.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from contextvars import ContextVar
from time import monotonic
from typing import Any

from rekindle.forkserver import forking
from rekindle.wire.page import tagged

#: What has no end of line is kept for up to so many characters,
_MOST_KEPT = 1 << 16
#: and a progress bar, which goes back to the start of its line, for so long.
_BAR_S = 1.0

# A handler of a signal may print while its thread has it.
_lock = threading.RLock()


class Prints:
    """The output of one input."""

    __slots__ = ("_bar_at", "_kept", "call_id", "parts", "printed")

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.printed = False
        #: What has no end of line yet, by descriptor.
        self.parts: dict[int, list[str]] = {}
        self._kept = 0
        self._bar_at = 0.0

    def write(self, fd: int, text: str) -> None:
        """Send the lines that are complete, and what is kept no longer."""
        whole, newline, rest = text.rpartition("\n")
        if newline:
            self._send(fd, (self._take(fd) + whole).split("\n"))
        if not rest:
            return
        self.parts.setdefault(fd, []).append(rest)
        self._kept += len(rest)
        if self._kept > _MOST_KEPT:
            self.finish()
        elif "\r" in rest and monotonic() - self._bar_at > _BAR_S:
            self._pass_bar_on(fd)

    def finish(self) -> None:
        """The input has ended: what it printed last is a line."""
        for fd in list(self.parts):
            if rest := self._take(fd):
                self._send(fd, [rest])

    def forget(self) -> None:
        """Drop what is kept."""
        self.parts.clear()
        self._kept = 0

    def _take(self, fd: int) -> str:
        kept = "".join(self.parts.pop(fd, ()))
        self._kept -= len(kept)
        return kept

    def _pass_bar_on(self, fd: int) -> None:
        """Send what a bar was up to now as a line. Its last state may have no end yet."""
        kept = self._take(fd)
        at = kept.rfind("\r", 0, -1)  # the last character may be the first of a line's end
        if at > 0:
            self._bar_at = monotonic()
            self._send(fd, [kept[:at]])
            kept = kept[at:]
        self.parts[fd] = [kept]
        self._kept += len(kept)

    def _send(self, fd: int, lines: list[str]) -> None:
        self.printed = True
        data = b"".join(
            tagged(self.call_id, line.encode("utf-8", "backslashreplace")) for line in lines
        )
        with _lock:
            while True:
                if not data:
                    break
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
        if forking.is_users_child and (prints := current.get()) is not None:
            prints.finish()  # it may end next
        with _lock:
            self._original.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    @property
    def closed(self) -> bool:
        """As the original says, which raises ValueError once it is detached: what Python drops it
        flushes first, unless it is closed, and says aloud what goes wrong (3.13)."""
        return super().closed or bool(self._original.closed)

    def detach(self) -> Any:
        """The original's: for whoever puts a stream of another encoding in place."""
        return self._original.detach()

    @property
    def encoding(self) -> Any:  # type: ignore[override]
        return self._original.encoding

    @property
    def errors(self) -> Any:  # type: ignore[override]
        return self._original.errors

    @property
    def newlines(self) -> Any:  # type: ignore[override]
        return self._original.newlines

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def install() -> None:
    """From now on lines say whose they are; what user code has put in place is kept behind."""
    if not isinstance(sys.stdout, _Stream):
        sys.stdout = _Stream(sys.stdout, 1)
    if not isinstance(sys.stderr, _Stream):
        sys.stderr = _Stream(sys.stderr, 2)


def _in_child() -> None:
    """A process that user code forked: what is kept is its parent's to send."""
    global _lock
    _lock = threading.RLock()
    if (prints := current.get()) is not None:
        prints.forget()


os.register_at_fork(after_in_child=_in_child)
