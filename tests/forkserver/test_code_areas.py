"""Areas of code and of constants of a file that are joined. Real mappings."""

from __future__ import annotations

import json
import subprocess
import sys

#: Maps pages of a file as a linker does, in a process of its own, since all of its areas are looked
#: at. Prints the permissions of each page, and whether all hold what they held.
_PROGRAM = """
import ctypes, json, mmap, os, sys
from rekindle.forkserver import code_areas
from rekindle.linux import maps
from rekindle.linux.libc import libc

PAGE, R, RW, RX = mmap.PAGESIZE, 1, 3, 5
PRIVATE, FIXED, ANONYMOUS = 2, 16, 32
file = os.open(os.path.realpath(sys.executable), os.O_RDONLY)
other = os.open(os.__file__, os.O_RDONLY)

def place(*pages):
    # Each: where its bytes come from (a page of a file), and what may be done with them.
    size = len(pages) * PAGE
    at = libc.mmap(None, size, 0, PRIVATE | ANONYMOUS, -1, 0)
    for number, (fd, page, prot) in enumerate(pages):
        where = at + number * PAGE
        first = RW if prot == "r, once rw" else prot
        assert libc.mmap(where, PAGE, first, PRIVATE | FIXED, fd, page * PAGE) == where
        if first != prot:
            ctypes.memmove(where, b"linked", 6)
            assert libc.mprotect(ctypes.c_void_p(where), ctypes.c_size_t(PAGE), R) == 0
    return at, size

CASES = {
    "library": [(file, 0, R), (file, 1, RX), (file, 2, R), (file, 3, "r, once rw"), (file, 4, RW)],
    "constants alone": [(file, 0, R), (other, 0, R)],
    "of another file": [(file, 0, RX), (other, 1, R)],
    "from elsewhere in the file": [(file, 1, RX), (file, 1, R), (file, 4, R)],
}
placed = {name: place(*pages) for name, pages in CASES.items()}
content = {name: ctypes.string_at(*where) for name, where in placed.items()}
code_areas.join()
found = {}
for name, (at, size) in placed.items():
    areas = [one for one in maps.mappings() if one.start < at + size and one.end > at]
    found[name] = [(max(at, one.start) - at, one.permissions) for one in areas]
same = all(ctypes.string_at(*where) == content[name] for name, where in placed.items())
print(json.dumps([PAGE, found, same]))
"""


def test_code_and_constants_of_a_library_are_one_area_and_nothing_else_may_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    page, found, same = json.loads(done.stdout)
    areas = {name: [(at // page, may) for at, may in pieces] for name, pieces in found.items()}
    assert areas == {
        "library": [(0, "r-xp"), (3, "r--p"), (4, "rw-p")],
        "constants alone": [(0, "r--p"), (1, "r--p")],
        "of another file": [(0, "r-xp"), (1, "r--p")],
        "from elsewhere in the file": [(0, "r-xp"), (1, "r--p"), (2, "r--p")],
    }
    assert same
