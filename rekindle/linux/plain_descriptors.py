"""Descriptors by what Python has of its own: several at once, and what comes from the other end.

Apart from what needs the C library (descriptors.py): a program that makes a call loads this, and
ctypes would take it longer to load than all that is here.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
from collections.abc import Iterable, Sequence

#: As the module termios has it; without that module, which is a library in each template.
_FIONREAD = 0x541B


def copies(fds: Sequence[int]) -> list[int]:
    """Of each a copy. Raises OSError where no more are to be had; none is left open then."""
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))  # noqa: PERF401 - those made so far are closed
    except OSError:
        close_all(made)
        raise
    return made


def has_hung_up(fd: int) -> bool:
    """Whether the other end of a connected socket was closed.

    That one direction is shut does not count (POLLRDHUP would say it of either end's doing).
    """
    poll = select.poll()
    poll.register(fd, 0)  # a hang-up is told in any case
    return bool(poll.poll(0))


def readable(fds: Iterable[int], timeout_s: float | None = None) -> set[int]:
    """Those of ``fds`` that can be read, or whose other end is gone; none once the time is over.

    By poll(2): select(2), which the standard library's ``select.select`` is, knows no descriptor
    from 1,024 on, and a program or an agent may have more.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    limit_ms = None if timeout_s is None else max(timeout_s, 0.0) * 1000  # it is rounded up
    return {fd for fd, _events in poll.poll(limit_ms)}


def close_all(fds: Sequence[int]) -> None:
    """Close them."""
    for fd in fds:
        os.close(fd)


def bytes_waiting(fd: int) -> int:
    """How much could be read from a pipe or socket."""
    # Into an array: no other way to get the number takes less than the call itself.
    count = array.array("i", (0,))
    fcntl.ioctl(fd, _FIONREAD, count)
    return count[0]


def first_line(fd: int) -> str:
    """The first line that comes, and no byte more: what follows is read by others."""
    found = b""
    while (byte := os.read(fd, 1)) not in (b"", b"\n"):
        found += byte
    return found.decode()
