"""Pages of this process that the kernel pins, as buffers of an io_uring that does nothing else.

A fork copies a pinned page at once, since a device might be writing to it: the child finds a page
of its own, and this process keeps its page writable.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence

from rekindle.linux.libc import check, libc

# The same on every processor.
_SETUP, _REGISTER = 425, 427
_REGISTER_BUFFERS = 0
_PARAMETERS_BYTES = 120
#: What kernels before 5.13 take; later ones take 16 times as many.
MOST_AREAS = 1024


def pin(areas: Sequence[tuple[int, int]]) -> int:
    """Pin areas, each given as its address and size, until the descriptor that is returned, and all
    copies of it, are closed. A page that is not this process's own yet becomes so.

    Raises OSError where the kernel does not do it (io_uring is off, or RLIMIT_MEMLOCK is too low).
    """
    parameters = ctypes.create_string_buffer(_PARAMETERS_BYTES)
    ring = check(libc.syscall(_SETUP, 1, parameters), "io_uring_setup")
    vector = (ctypes.c_size_t * (2 * len(areas)))(*(number for area in areas for number in area))
    try:
        done = libc.syscall(_REGISTER, ring, _REGISTER_BUFFERS, vector, len(areas))
        check(done, "io_uring_register")
    except OSError:
        os.close(ring)
        raise
    return ring


def why_not() -> str:
    """Why this process cannot have pages pinned; "" where it can."""
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held = ctypes.c_char.from_buffer(page)
    try:
        os.close(pin([(ctypes.addressof(held), len(page))]))
    except OSError as error:
        return str(error)
    return ""
