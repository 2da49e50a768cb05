"""Resource limits of this process, without a module that no template needs otherwise."""

from __future__ import annotations

import ctypes

from rekindle.linux.libc import check, libc

_RLIMIT_NOFILE = 7
#: What this process might have before it had the limit raised; None: it has not.
_given: int | None = None


def open_files() -> int:
    """How many descriptors this process may have (the soft limit)."""
    return min(_limits()[0], (1 << 63) - 1)


def given_open_files() -> int:
    """How many it was given: what its children are to have, as programs that use select(2) or look
    at each descriptor expect no more."""
    return open_files() if _given is None else _given


def raise_open_files() -> None:
    """Have as many as the hard limit allows; for a daemon. Raises OSError."""
    global _given
    given = given_open_files()
    _set_open_files(_limits()[1])
    _given = given


def give_open_files(count: int) -> None:
    """Have so many again, in a child of a daemon that has raised its limit. Raises OSError."""
    if count != open_files():
        _set_open_files(count)


def _limits() -> ctypes.Array[ctypes.c_uint64]:
    """Soft and hard."""
    limits = (ctypes.c_uint64 * 2)()
    check(libc.getrlimit(_RLIMIT_NOFILE, limits), "getrlimit(RLIMIT_NOFILE)")
    return limits


def _set_open_files(count: int) -> None:
    limits = _limits()
    limits[0] = min(count, limits[1])
    check(libc.setrlimit(_RLIMIT_NOFILE, limits), "setrlimit(RLIMIT_NOFILE)")
