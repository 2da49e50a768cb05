"""Small holes in a parked process's memory."""

from __future__ import annotations

import mmap
import subprocess
import sys

#: In a process of its own: all of its memory is looked at. Prints which pages are there afterwards.
_PROGRAM = """
import ctypes, mmap, os
from rekindle.forkserver import holes
page, pages = mmap.PAGESIZE, 64
memory = mmap.mmap(-1, pages * page, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for written in (0, 3, 4, 25, 30):
    memory[written * page] = 7
holes.fill()
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
with open("/proc/self/pagemap", "rb") as file:
    file.seek(at // page * 8)
    entries = file.read(pages * 8)
print(*(number for number in range(pages) if entries[number * 8 + 7] & 0x80))
print(sum(memory[number * page] for number in range(pages)), memory[: 64 * page].count(0))
"""


def test_small_holes_are_filled_with_zeros_and_large_ones_stay() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    there, content = done.stdout.splitlines()
    # 5 to 24 are more than are filled; so is what follows 30.
    assert [int(page) for page in there.split()] == [0, 1, 2, 3, 4, *range(25, 31)]
    assert content.split() == ["35", str(64 * mmap.PAGESIZE - 5)]
