"""Open files: advisory locks, and what is in the page cache."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

from rekindle.linux.libc import libc

_CACHESTAT = 451


def lock(fd: int, *, shared: bool = False) -> None:
    """Wait for the lock on a file (flock); it goes with the open file, however the process ends."""
    fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_lock(fd: int) -> bool:
    """Take the exclusive lock unless another one has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def cached_bytes(fd: int) -> int | None:
    """How much of a file is in the page cache; None where the kernel cannot tell (before 6.5)."""
    whole, found = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    if libc.syscall(_CACHESTAT, fd, ctypes.byref(whole), ctypes.byref(found), 0) == 0:
        return int(found[0]) * os.sysconf("SC_PAGE_SIZE")
    number = ctypes.get_errno()
    if number not in (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP):
        raise OSError(number, os.strerror(number))
    return None
