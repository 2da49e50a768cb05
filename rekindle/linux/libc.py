"""The C library by ctypes, and its errors as OSError."""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
#: The same, called without releasing the interpreter's lock: no other Python thread runs meanwhile.
locked_libc = ctypes.PyDLL(None, use_errno=True)

for _handle in (libc, locked_libc):
    _handle.mmap.restype = ctypes.c_void_p
    _handle.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]


def check(result: int, what: str) -> int:
    """``result``, unless it says that ``what`` failed. Raises OSError."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
