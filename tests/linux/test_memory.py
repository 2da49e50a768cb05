"""Where malloc puts blocks, in processes of their own: its settings are for good."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="it has no malloc with these settings"
)

#: Prints where blocks of so many MiB are, and whether the heap ends lower once all are free.
_PROGRAM = """
import ctypes, json
from rekindle.linux import memory
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
memory.keep_blocks_in_the_heap()
begins = libc.sbrk(0)
blocks = [libc.malloc(mebibytes << 20) for mebibytes in (1, 20, 31, 33)]
ends = libc.sbrk(0)
in_heap = [begins - (1 << 20) <= block < ends for block in blocks]
for block in blocks:
    libc.free(block)
few = libc.malloc(20 << 20)
libc.free(few)
kept = libc.sbrk(0) >= few + (20 << 20)
memory.return_freed_memory()
print(json.dumps([in_heap, kept, libc.sbrk(0) < begins + (1 << 20)]))
"""


def _where(**environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_blocks_of_up_to_32_mib_are_in_the_heap_whose_free_end_can_be_given_back() -> None:
    assert _where() == [[True, True, True, False], True, True]


@pytest.mark.parametrize(
    "environment",
    [{"MALLOC_MMAP_THRESHOLD_": "65536"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"}],
)
def test_who_has_set_the_limits_of_malloc_keeps_them(environment: dict[str, str]) -> None:
    in_heap, _kept, _given_back = _where(**environment)
    assert in_heap == [False] * 4
