"""What happens when standard output can no longer be written to while a program runs.

What runners print is written by another thread than the program's. Where the reader of our output
has gone (``| head``), the program is interrupted without a message, as Python programs end. A full
disk is an error, reported once when the call has ended, as the call's work is done all the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

from rekindle.exception import ServiceError
from rekindle.sdk import notes

#: How writing to a file fails, of those errors that end a command.
_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_lost: OSError | None = None


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Notice output that is lost, within."""
    global _lost
    _lost = None
    notes.on_lost = _note
    try:
        yield
    finally:
        notes.on_lost = None


def interrupted_program() -> bool:
    """Whether the program was interrupted because the reader of our output had gone."""
    return isinstance(_lost, BrokenPipeError)


def has_no_reader() -> bool:
    """Whether nobody reads our output any more, as a poll of it says now."""
    import select

    looking = select.poll()
    for fd in (1, 2):
        looking.register(fd, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in looking.poll(0))


def status(before: int, app_id: str) -> int:
    """The exit status of a program that would end with ``before``. Raises ServiceError.

    ``app_id``: whose output is still to be had; "" where its instance has gone.
    """
    if _lost is None:
        return before
    forget_unwritten()
    if not interrupted_program():
        kept = f"; `rekindle logs {app_id}` shows the last lines of its app" if app_id else ""
        raise ServiceError(
            f"what was printed could not all be written to standard output: {_lost.strerror}; "
            f"the call itself has ended{kept}"
        ) from None
    return 1


def is_lost(error: OSError) -> bool:
    """Whether an error comes from writing to standard output."""
    if has_no_reader():
        return isinstance(error, BrokenPipeError)
    if error.errno not in _LOST or error.filename is not None:
        return False
    try:
        os.write(1, b"\n")  # to look at it; there is no other way
    except OSError as again:
        return again.errno == error.errno
    return False


def report(lost: OSError) -> int:
    """Show the error of a command whose output is lost; its exit status.

    None is shown where the reader has gone: it has what it wanted.
    """
    forget_unwritten()
    if isinstance(lost, BrokenPipeError):
        return 0
    from rekindle.cli import failure

    text = f"what is printed cannot be written to standard output: {lost.strerror}"
    failure.show_error(ServiceError(f"{text}; what the command has done stays done"))
    return 1


def forget_unwritten(stream: TextIO | None = None) -> None:
    """Have nothing written at exit either: what is still buffered goes to the null device.

    ``stream``: whose; by default of standard output.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, (sys.stdout if stream is None else stream).fileno())
    os.close(null)


def _note(error: OSError) -> None:
    global _lost
    if _lost is not None:
        return
    _lost = error
    if interrupted_program():
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)  # as Ctrl-C does: the app is closed in good order
