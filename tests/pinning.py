"""Where the kernel can pin pages, and a process for which it cannot."""

from __future__ import annotations

import pytest

from rekindle.linux import pinned

_reason = pinned.why_not()
needs_pinning = pytest.mark.skipif(bool(_reason), reason=f"pages cannot be pinned: {_reason}")

#: In a program: from now on there is no io_uring, as in a container that does not allow it.
REFUSE_IO_URING = """
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
    assert libc.prctl(22, 2, program, 0, 0) == 0
"""
