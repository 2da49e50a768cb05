"""Small holes in the memory of a process that parks, filled with zeros.

A hole is some pages that were never written, or were given back, between pages that were. A mapped
snapshot maps a file in which such pages are not: each hole splits an area of memory in three, and
every restore, fork and exit pays for each area. What reads a hole finds zeros before and after.

Knows nothing of snapshots.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from rekindle.linux import maps, memory

#: A larger hole stays: its pages would cost more, in memory and in a snapshot, than two areas do.
_MOST_PAGES = 16
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Entries of /proc/PID/pagemap that are read at once, of eight bytes each.
_AT_ONCE = 1 << 17

#: By the highest byte of an entry, whether a page is in memory, or swapped out.
_WRITTEN = bytes(entry >= 0x40 for entry in range(256))
#: Pages that are not, behind one that is; at the end of an area it may be the rest.
_HOLE = re.compile(rb"(?<=\x01)\x00{1,%d}(?=\x01|\Z)" % _MOST_PAGES)


def fill() -> None:
    """Fill those of this process's own anonymous memory. Where it cannot be seen or done, its areas
    stay in pieces: that takes time, and nothing else."""
    try:
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # a kernel without it
    try:
        for area in list(filter(_is_own, maps.mappings())):
            for start, size in _holes(pagemap, area):
                memory.populate_for_writing(start, size)
    finally:
        os.close(pagemap)


def _is_own(area: maps.Mapping) -> bool:
    return area.permissions == "rw-p" and area.path in ("", "[heap]")


def _holes(pagemap: int, area: maps.Mapping) -> Iterator[tuple[int, int]]:
    """Address and bytes of each."""
    first, pages = area.start // _PAGE_BYTES, area.size // _PAGE_BYTES
    for at in range(0, pages, _AT_ONCE):
        count = min(_AT_ONCE, pages - at)
        entries = os.pread(pagemap, count * 8, (first + at) * 8)
        for hole in _HOLE.finditer(entries[7::8].translate(_WRITTEN)):
            start = area.start + (at + hole.start()) * _PAGE_BYTES
            yield start, len(hole[0]) * _PAGE_BYTES
