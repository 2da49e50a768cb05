"""Open files: advisory locks, what is in the page cache, pages shared on disk."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from rekindle.linux.libc import libc

_CACHESTAT = 451
# _IOWR(0x94, 54, struct file_dedupe_range), linux/fs.h
_FIDEDUPERANGE = 0xC0189436
_RANGE = struct.Struct("=QQHHI")
_TARGET = struct.Struct("=qQQiI")


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


def share_range(source: int, there: int, target: int, here: int, size: int) -> int:
    """Let two files have the same pages on disk; bytes shared, 0 where the content differs."""
    request = bytearray(_RANGE.pack(there, size, 1, 0, 0) + _TARGET.pack(target, here, 0, 0, 0))
    fcntl.ioctl(source, _FIDEDUPERANGE, request)
    _fd, _offset, done, status, _reserved = _TARGET.unpack_from(request, _RANGE.size)
    if status < 0:
        raise OSError(-status, os.strerror(-status))
    return int(done) if status == 0 else 0
