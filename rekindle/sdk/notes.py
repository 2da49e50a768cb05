"""Rekindle's own notes on the terminal: on standard error, dim where that is a terminal.

Apart from what streams runners' output, which loads the client: a command line that only has a
note to write does without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TextIO

from rekindle.wire.usercode import came_by_signal

#: Whether notes about an app that runs are shown (``rekindle run -q`` leaves them out).
shown = True
#: Told of each failure to write to standard output, by the thread that wrote.
on_lost: Callable[[OSError], None] | None = None


def write_note(text: str) -> None:
    """A line of rekindle's own."""
    write(sys.stderr, painted(text, "2", sys.stderr), True)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether lines can be rewritten there."""
    if stream is None or os.environ.get("TERM", "") == "dumb":
        return False
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # one of the user's, or closed
        return False


def on_terminal(text: str) -> None:
    """A line for who watches: not in a file or a pipe, nor where notes are not shown."""
    if shown and is_terminal(sys.stderr):
        write_note(text)


def painted(text: str, code: str, stream: TextIO) -> str:
    """The text in a colour (of ANSI), where such are wanted on a stream."""
    wanted = getattr(stream, "isatty", lambda: False)() and "NO_COLOR" not in os.environ
    return f"\x1b[{code}m{text}\x1b[0m" if wanted else text


def write(stream: TextIO, text: str, newline: bool) -> None:
    """Write and flush; a stream that cannot be written to is passed over.

    What it has no characters for is written in escapes, as runners do.
    """
    text = text + "\n" if newline else text
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError as error:
            known = text.encode(error.encoding, "backslashreplace")
            stream.write(known.decode(error.encoding))
        stream.flush()
    except BaseException as error:
        # The reader of our output has gone, the stream is closed, or it is one of the user's that
        # raises anything, and may not end the thread of all calls: nowhere to say so.
        if came_by_signal(error):
            raise
        if on_lost is not None and stream is sys.stdout and isinstance(error, OSError):
            on_lost(error)
