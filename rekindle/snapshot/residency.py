"""How much of a snapshot is in the page cache; reading it ahead, and giving it back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rekindle.linux import files

#: Smaller files are CRIU's notes, not memory.
_LEAST_BYTES = 64 << 10


def resident_bytes(directory: Path) -> int:
    """Bytes of the large files in ``directory`` that are in the page cache. Raises OSError."""
    return sum(map(files.cached_bytes, _large(directory)))


def read_ahead(directory: Path) -> None:
    """Have the kernel read the large files. Raises OSError."""
    for fd in _large(directory):
        files.read_ahead(fd, 0, os.fstat(fd).st_size)


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
