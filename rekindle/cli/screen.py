"""The last lines of a terminal, which say what a program waits for; all else is written above them.

Knows nothing of what the lines say.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rekindle.sdk import notes, progress

#: So often the lines are written again.
_EVERY_S = 0.1
_ERASE = "\r\x1b[2K"
_UP = "\x1b[1A"


class Screen:
    """Writes lines to a terminal, takes them away, and puts them below whatever else is written."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._lock = threading.RLock()
        self._drawn = 0
        self._lines: list[str] = []
        #: Whether the cursor is behind a line that is not at its end, such as a progress bar.
        self._is_open = False
        self._is_lent = False

    def give_way(self, lent: bool) -> None:
        """Draw nothing while a runner has the terminal, from now on (True) or no more."""
        with self._lock:
            self.draw([])
            self._is_lent = lent

    def draw(self, lines: list[str]) -> None:
        """Have exactly these lines at the end; none while somebody is in the middle of a line."""
        with self._lock:
            if self._is_open or self._is_lent or (self._drawn and lines == self._lines):
                return
            self._lines = lines
            text = self._erasing() + "\n".join(lines)
            self._drawn = len(lines)
            if text:
                self._put(text)

    def write(self, stream: TextIO, text: str) -> int:
        """Write for somebody else, above the lines."""
        with self._lock:
            if self._drawn:
                self._put(self._erasing())
            written = stream.write(text)
            if text:
                self._is_open = not text.endswith("\n")
                stream.flush()
            return written

    def _erasing(self) -> str:
        if not self._drawn:
            return ""
        text = _ERASE + (_UP + _ERASE) * (self._drawn - 1)
        self._drawn = 0
        return text

    def _put(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal has gone
            self._terminal.write(text)
            self._terminal.flush()

    def in_child(self) -> None:
        """In a forked child, whose other threads are gone: the lines are its parent's."""
        self._lock = threading.RLock()
        self._drawn = 0


class _Above:
    """A standard stream whose text comes above the lines; in all else the stream itself."""

    def __init__(self, screen: Screen, stream: TextIO) -> None:
        self._screen = screen
        self._stream = stream

    def write(self, text: str) -> int:
        """As of any stream."""
        return self._screen.write(self._stream, text)

    def writelines(self, lines: list[str]) -> None:
        """As of any stream."""
        self._screen.write(self._stream, "".join(lines))

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lines_below(lines: Callable[[], list[str]]) -> Iterator[None]:
    """Within, ``lines`` are at the end of the terminal; they are asked for ten times a second."""
    terminal, out = sys.stderr, sys.stdout
    screen = Screen(terminal)
    above_err: Any = _Above(screen, terminal)
    sys.stderr = above_err
    above_out: Any = None
    if notes.is_terminal(out):  # elsewhere nothing is to be rewritten, nor slowed down
        above_out = _Above(screen, out)
        sys.stdout = above_out
    over = threading.Event()

    def redraw() -> None:
        shown = False
        while not over.wait(_EVERY_S):
            now = lines()
            if now or shown:
                screen.draw(now)
            shown = bool(now)

    thread = threading.Thread(target=redraw, name="rekindle-screen", daemon=True)
    os.register_at_fork(after_in_child=screen.in_child)
    progress.on_lent = screen.give_way
    thread.start()
    try:
        yield
    finally:
        progress.on_lent = None
        over.set()
        thread.join()
        screen.draw([])
        # Not where the program has put another stream there meanwhile.
        if sys.stderr is above_err:
            sys.stderr = terminal
        if above_out is not None and sys.stdout is above_out:
            sys.stdout = out
