"""Where the kernel can pin pages, and a process for which it cannot."""

from __future__ import annotations

import mmap
import ctypes
import os

import pytest

from rekindle.linux import pinned


def _why_not() -> str:
    memory = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        os.close(pinned.pin([(ctypes.addressof(ctypes.c_char.from_buffer(memory)), len(memory))]))
    except OSError as error:
        return str(error)
    return ""


_reason = _why_not()
needs_pinning = pytest.mark.skipif(bool(_reason), reason=f"pages cannot be pinned: {_reason}")

#: In a program: from now on there is no io_uring, as in a container that does not allow it.
REFUSE = """
import ctypes, struct
def refuse_io_uring():
    rules = struct.pack("HBBI" * 4,
        0x20, 0, 0, 0,                # the number of the call
        0x15, 0, 1, 425,              # io_uring_setup
        0x06, 0, 0, 0x00050000 | 1,   # EPERM
        0x06, 0, 0, 0x7FFF0000)       # all others are allowed
    held = ctypes.create_string_buffer(rules, len(rules))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
"""
