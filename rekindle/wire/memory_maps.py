"""Mappings of memory files, made by hand: the mmap module keeps a descriptor open for each, and
does not say where they lie.

Standard library only, and ctypes not before it is needed: runners import this. Knows nothing of
who maps what.
"""

from __future__ import annotations

import mmap
import os
import time
from functools import cache
from types import SimpleNamespace

#: What huge pages are for x86-64, and for arm64 with small pages of 4 KiB.
_HUGE_BYTES = 2 << 20
#: A call is held up by no more than this for later ones.
_GATHER_S = 0.003
_PROT_NONE, _PROT_READ_WRITE, _MAP_FIXED, _MADV_COLLAPSE = 0, 3, 0x10, 25


def map_file(fd: int, size: int, flags: int) -> int:
    """Map the first ``size`` bytes of a file, to read and write; the address.

    Where it is large it lies so that huge pages of the file can be huge pages here. ``flags``: of
    the mmap module. Raises OSError.
    """
    if size < _HUGE_BYTES:
        return _mmap(None, size, _PROT_READ_WRITE, flags, fd)
    size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    # Addresses that nobody else gets meanwhile, enough of them for a place that is aligned.
    flags_of_room = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    room = _mmap(None, size + _HUGE_BYTES, _PROT_NONE, flags_of_room, -1)
    begin = -(-room // _HUGE_BYTES) * _HUGE_BYTES
    try:
        _mmap(begin, size, _PROT_READ_WRITE, flags | _MAP_FIXED, fd)
    except OSError:
        unmap(room, size + _HUGE_BYTES)
        raise
    if begin > room:
        unmap(room, begin - room)
    unmap(begin + size, room + _HUGE_BYTES - begin)
    return begin


def unmap(address: int, size: int) -> None:
    """End a mapping, or a part of it."""
    _libc().munmap(address, size)


def gather(address: int, size: int, begin: int = 0) -> int:
    """Put pages of a mapped file, which are all there, into huge ones, from ``begin`` on.

    Its readers find those mapped at once, and not by a fault for every few (MADV_COLLAPSE, Linux
    6.1). It goes on for 3 ms; up to where it came, or ``size`` where nothing more is to be done:
    where there is no such call, no huge page is free, or one had to be made free, which takes long.
    """
    madvise, until = _libc().madvise, time.perf_counter() + _GATHER_S
    now = time.perf_counter()
    while begin + _HUGE_BYTES <= size and now < until:
        refused = madvise(address + begin, _HUGE_BYTES, _MADV_COLLAPSE) != 0
        before, now = now, time.perf_counter()
        if refused or now - before > _GATHER_S:
            return size
        begin += _HUGE_BYTES
    return begin if begin + _HUGE_BYTES <= size else size


def _mmap(address: int | None, size: int, prot: int, flags: int, fd: int) -> int:
    libc = _libc()
    found: int | None = libc.mmap(address, size, prot, flags, fd, 0)
    if found is None or found == libc.failed:
        number = libc.get_errno()
        raise OSError(number, os.strerror(number))
    return found


@cache
def _libc() -> SimpleNamespace:
    """By a handle of our own: what others say of these functions' types is theirs."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    place, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = place
    libc.mmap.argtypes = [place, size, number, number, number, ctypes.c_long]
    libc.munmap.argtypes = [place, size]
    libc.madvise.argtypes = [place, size, number]
    return SimpleNamespace(
        mmap=libc.mmap,
        munmap=libc.munmap,
        madvise=libc.madvise,
        get_errno=ctypes.get_errno,
        failed=ctypes.c_void_p(-1).value,
    )
