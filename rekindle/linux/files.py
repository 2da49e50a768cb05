"""Files: advisory locks, what is on the disk, and what is in the page cache."""

from __future__ import annotations

import errno
import fcntl
import fnmatch
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Pages to look at, to learn how much of a file is in the page cache.
SAMPLES = 64

_CACHESTAT = 451
#: How much is asked for at a time.
_AT_ONCE_BYTES = 4 << 20


def lock(fd: int, *, shared: bool = False) -> None:
    """Wait for the lock on a file (flock); it goes with the open file, however the process ends."""
    fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the exclusive lock, or a shared one, unless another one has it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def opened_directory(directory: Path) -> Iterator[int]:
    """A descriptor of a directory, to be locked or looked into. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def not_listed(error: OSError) -> None:
    """For ``os.walk``, which passes over a directory that it cannot list otherwise."""
    raise error


def not_listed_unless_gone(error: OSError) -> None:
    """The same where directories may be removed meanwhile: one that is gone has nothing in it."""
    if not isinstance(error, FileNotFoundError):
        raise error


def below(directory: Path, suffix: str) -> list[Path]:
    """The files in a tree whose names end so, sorted. ``Path.rglob`` passes over what it cannot
    list. Raises OSError."""
    walk = os.walk(directory, onerror=not_listed)
    return sorted(
        Path(folder, name) for folder, _, names in walk for name in names if name.endswith(suffix)
    )


def named(directory: Path, pattern: str) -> list[Path]:
    """What is in a directory under names of a pattern, sorted. ``Path.glob`` takes one that it
    cannot list for empty. Raises OSError."""
    return [directory / name for name in sorted(fnmatch.filter(os.listdir(directory), pattern))]


def sync(path: str | os.PathLike[str]) -> None:
    """Have a file's content, or the names in a directory, on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def next_data(fd: int, at: int, size: int) -> tuple[int, int] | None:
    """Where the next part that is no hole begins and ends; None where only a hole is left.

    Raises OSError.
    """
    try:
        begin = os.lseek(fd, at, os.SEEK_DATA)
        return begin, os.lseek(fd, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno == errno.EINVAL:  # its file system knows of no holes
            return at, size
        raise


def cached_bytes(fd: int) -> int:
    """How much of a file is in the page cache; from a sample before Linux 6.5."""
    import ctypes  # not before it is needed: programs that only lock do without

    from rekindle.linux.libc import libc

    whole, found = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    if libc.syscall(_CACHESTAT, fd, ctypes.byref(whole), ctypes.byref(found), 0) == 0:
        return int(found[0]) * PAGE_BYTES
    number = ctypes.get_errno()
    if number not in (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP):
        raise OSError(number, os.strerror(number))
    size = os.fstat(fd).st_size
    sampled = [is_cached(fd, at) for at in range(0, size, max(PAGE_BYTES, size // SAMPLES))]
    return size * sum(sampled) // max(1, len(sampled))


def is_cached(fd: int, offset: int) -> bool:
    """Whether a page of a file is in the page cache, found out without waiting for the disk."""
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False  # its file system cannot say without waiting: FUSE


def read_ahead(fd: int, offset: int, length: int) -> None:
    """Have the kernel read a part of a file; returns when it is asked for, not when it is there."""
    for begin in range(offset, offset + length, _AT_ONCE_BYTES):
        size = min(_AT_ONCE_BYTES, offset + length - begin)
        os.posix_fadvise(fd, begin, size, os.POSIX_FADV_WILLNEED)
