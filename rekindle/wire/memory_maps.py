"""Mappings of memory files, made by hand: the mmap module keeps a descriptor open for each, and
does not say where they lie.

Standard library only, and ctypes not before it is needed: runners import this. Knows nothing of
who maps what.
"""

from __future__ import annotations

import mmap
import os
from functools import cache
from types import SimpleNamespace

_PROT_READ_WRITE = 3
#: Of an entry of pagemap, little-endian; in its highest byte: there, swapped out, of a file.
_ENTRY_BYTES, _KINDS, _NOT_THERE, _OF_FILE = 8, 0b1110_0000, 0, 0b1010_0000


def map_file(fd: int, size: int, flags: int) -> int:
    """Map the first ``size`` bytes of a file, to read and write; the address.

    ``flags``: of the mmap module. Raises OSError.
    """
    c = _c()
    found: int = c.libc.mmap(None, size, _PROT_READ_WRITE, flags, fd, 0)
    if found == c.failed:
        c.check(-1, f"mmap of {size} bytes")
    return found


def unmap(address: int, size: int) -> None:
    """End a mapping."""
    c = _c()
    c.libc.munmap(c.place(address), c.size(size))


def allow_all(address: int, size: int) -> bool:
    """Have a mapping be read and written again, whatever was allowed in between.

    False where that fails: a part of it is not mapped any more, say.
    """
    c = _c()
    return int(c.libc.mprotect(c.place(address), c.size(size), _PROT_READ_WRITE)) == 0


def is_as_in_file(address: int, size: int) -> bool:
    """Whether no page of a private mapping was written to by this process, as far as can be told.

    A page that was written to is memory of its own; the kernel shows for each whether it is the
    file's (proc(5), ``/proc/PID/pagemap``, bit 61), or not there at all.
    """
    first, count = address // mmap.PAGESIZE, -(-size // mmap.PAGESIZE)
    try:
        pages = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        seen = os.pread(pages, count * _ENTRY_BYTES, first * _ENTRY_BYTES)
    except OSError:
        return False
    finally:
        os.close(pages)
    highest = {byte & _KINDS for byte in set(seen[_ENTRY_BYTES - 1 :: _ENTRY_BYTES])}
    return len(seen) == count * _ENTRY_BYTES and highest <= {_NOT_THERE, _OF_FILE}


@cache
def _c() -> SimpleNamespace:
    """What is called of libc; loaded once: mappings end also while the interpreter does."""
    import ctypes

    from rekindle.linux.libc import check, libc

    place = ctypes.c_void_p
    return SimpleNamespace(
        check=check, libc=libc, failed=place(-1).value, place=place, size=ctypes.c_size_t
    )
