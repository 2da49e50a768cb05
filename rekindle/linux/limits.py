"""Resource limits of this process, without a module that no template needs otherwise."""

from __future__ import annotations

import ctypes

from rekindle.linux.libc import check, libc

_RLIMIT_NOFILE = 7


def open_files() -> int:
    """How many descriptors this process may have (the soft limit)."""
    limits = (ctypes.c_uint64 * 2)()
    check(libc.getrlimit(_RLIMIT_NOFILE, limits), "getrlimit(RLIMIT_NOFILE)")
    return min(limits[0], (1 << 63) - 1)
