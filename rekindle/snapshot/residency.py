"""How much of a snapshot is in the page cache; reading it ahead, and giving it back.

The kernel tells by cachestat(2) (Linux 6.5), without reading anything. Where it cannot, a sample of
pages is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rekindle.linux import files

#: Smaller files are CRIU's notes, not memory.
_LEAST_BYTES = 64 << 10
_READ_AHEAD_BYTES = 4 << 20
_SAMPLES = 64
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(directory: Path) -> int:
    """Bytes of the large files in ``directory`` that are in the page cache. Raises OSError."""
    return sum(_resident(fd) for fd in _large(directory))


def read_ahead(directory: Path) -> None:
    """Have the kernel read the large files. Raises OSError."""
    for fd in _large(directory):
        size = os.fstat(fd).st_size
        for begin in range(0, size, _READ_AHEAD_BYTES):
            os.posix_fadvise(fd, begin, _READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def give_back(directory: Path) -> None:
    """Let the kernel have their pages again, but those that a process maps. Raises OSError."""
    for fd in _large(directory):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _large(directory: Path) -> Iterator[int]:
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.stat().st_size >= _LEAST_BYTES:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)


def _resident(fd: int) -> int:
    cached = files.cached_bytes(fd)
    return _sampled(fd) if cached is None else cached


def _sampled(fd: int) -> int:
    size = os.fstat(fd).st_size
    step = max(_PAGE, size // _SAMPLES)
    looked = cached = 0
    buffer = bytearray(1)
    for offset in range(0, size, step):
        looked += 1
        try:
            cached += os.preadv(fd, [buffer], offset, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            continue
    return size * cached // max(1, looked)
