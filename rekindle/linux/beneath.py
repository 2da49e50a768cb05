"""openat2(2): open what lies beneath a directory, and nothing else, whatever links say."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from rekindle.linux.libc import libc

_SYS_OPENAT2 = 437  # on every architecture
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08
_TEMPORARY_FAILURES = 100


def open_beneath(root_fd: int, path: str, flags: int) -> int:
    """Open ``path`` below the directory ``root_fd``. Creates nothing.

    Symbolic links are followed as long as they stay below it. OSError EXDEV for what leaves it
    (``..``, an absolute path or link), ENOSYS where the kernel is older than 5.6.
    """
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, _BENEATH | _NO_MAGICLINKS)
    name = os.fsencode(path) or b"."
    for _ in range(_TEMPORARY_FAILURES):
        fd: int = libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(root_fd),
            ctypes.c_char_p(name),
            ctypes.c_char_p(how),
            ctypes.c_size_t(len(how)),
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):  # something was renamed meanwhile
            break
    raise OSError(number, os.strerror(number), path)
