"""Waiting for files that other processes make or remove, without looking again and again."""

from __future__ import annotations

import os
from pathlib import Path

from rekindle.linux.libc import check, libc

_IN_MOVED_FROM, _IN_MOVED_TO = 0x40, 0x80
_IN_CREATE, _IN_DELETE = 0x100, 0x200
_IN_DELETE_SELF, _IN_MOVE_SELF = 0x400, 0x800

#: Something new is in the directory.
NEW = _IN_CREATE | _IN_MOVED_TO
#: Something that was in the directory, or the directory itself, has gone.
GONE = _IN_DELETE | _IN_MOVED_FROM | _IN_DELETE_SELF | _IN_MOVE_SELF


def watch(directory: Path, wanted: int = NEW) -> int:
    """A descriptor that is readable when something happens to a directory; not blocking.

    Raises OSError, also where this user has as many watches as the system allows.
    """
    fd = check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
    try:
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
