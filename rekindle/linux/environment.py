"""What the kernel shows as a process's environment, for one that was told its own late."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from rekindle.linux.libc import check, libc

_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_NO_FILE = 0xFFFFFFFF
#: Places in /proc/self/stat, from the state on, of what the kernel is told again (proc(5)).
_START_CODE, _END_CODE, _START_STACK, _START_DATA, _END_DATA, _START_BRK = 23, 24, 25, 42, 43, 44
_ARG_START, _ARG_END = 45, 46

#: The kernel reads it whenever it is asked: it stays.
_shown: ctypes.Array[ctypes.c_char] | None = None


class _Map(ctypes.Structure):
    """struct prctl_mm_map."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("start_code", "end_code", "start_data", "end_data")),
        *((name, ctypes.c_uint64) for name in ("start_brk", "brk", "start_stack")),
        *((name, ctypes.c_uint64) for name in ("arg_start", "arg_end", "env_start", "env_end")),
        ("auxv", ctypes.c_uint64),
        ("auxv_size", ctypes.c_uint32),  # 0: as it is
        ("exe_fd", ctypes.c_uint32),
    )


def show(environ: Iterable[tuple[str, str]]) -> None:
    """Have /proc/PID/environ be this. Raises OSError.

    By PR_SET_MM_MAP, for which no capability is needed: CRIU has it in the kernel.
    """
    global _shown
    pairs = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environ)
    block = ctypes.create_string_buffer(pairs, max(1, len(pairs)))
    start = ctypes.addressof(block)
    with open("/proc/self/stat", "rb") as file:
        found = file.read().rpartition(b") ")[2].split()
    libc.sbrk.restype = ctypes.c_uint64
    made = _Map(
        *(int(found[at]) for at in (_START_CODE, _END_CODE, _START_DATA, _END_DATA, _START_BRK)),
        libc.sbrk(ctypes.c_long(0)),
        *(int(found[at]) for at in (_START_STACK, _ARG_START, _ARG_END)),
        *(start, start + len(pairs)),
        *(0, 0, _NO_FILE),
    )
    size = ctypes.c_ulong(ctypes.sizeof(made))
    check(
        libc.prctl(_PR_SET_MM, ctypes.c_ulong(_PR_SET_MM_MAP), ctypes.byref(made), size, 0),
        "prctl(PR_SET_MM_MAP)",
    )
    _shown = block
