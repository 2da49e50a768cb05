"""Waiting for files that other processes make, without looking again and again."""

from __future__ import annotations

import os
from pathlib import Path

from rekindle.linux.libc import check, libc

_IN_CREATE = 0x100
_IN_MOVED_TO = 0x80


def watch(directory: Path) -> int:
    """A descriptor that is readable when something new is in a directory; not blocking.

    Raises OSError, also where this user has as many watches as the system allows.
    """
    fd = check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
    try:
        wanted = _IN_CREATE | _IN_MOVED_TO
        check(libc.inotify_add_watch(fd, os.fsencode(directory), wanted), "inotify_add_watch")
    except OSError:
        os.close(fd)
        raise
    return fd


def forget_events(fd: int) -> None:
    """Read away what has happened: it is readable again when more does."""
    try:
        os.read(fd, 65536)
    except BlockingIOError:
        pass
