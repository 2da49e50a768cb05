"""Pages of memory that each child of a process comes to write to, copied by its fork itself.

A forked child copies a page when it first writes to it, and its parent copies each that it writes
to while a child shares it: by a page fault each time. Pages of which that is known beforehand are
pinned in the parent; the kernel copies such pages at a fork, for a third of what a fault takes.

Knows nothing of what lies in a page, nor of what a child does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from rekindle.linux import maps, pinned

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: No more are copied by each fork; a start without user code writes to a quarter of that.
MOST_PAGES = 2048
#: Entries of /proc/PID/pagemap that are read at once, of eight bytes each.
_AT_ONCE = 1 << 15
#: By the highest byte of an entry: in memory (0x80), of no file (not 0x20), and of one process
#: alone (0x01). What else a kernel says there says nothing of that (0x1e).
_OWN = bytes(entry & 0xE1 == 0x81 for entry in range(256))
_PAGES = re.compile(rb"\x01+")
#: Of VmFlags in /proc/PID/smaps: a child has none of it, or finds it empty. Or it is to have huge
#: pages, of which the kernel would pin, and copy, the whole where one small page is wanted.
_LEFT_OUT = frozenset({"dc", "wf", "dp", "hg"})
#: What the kernel does about large pages.
THP = "/sys/kernel/mm/transparent_hugepage"

#: An area of memory: its address and its bytes.
Area = tuple[int, int]


def writable() -> list[maps.Mapping]:
    """Before a fork: the areas of this process in which such pages can be. Raises OSError."""
    return [
        area
        for area in maps.mappings_with_flags()
        if area.permissions == "rw-p" and not area.is_huge and area.vm_flags.isdisjoint(_LEFT_OUT)
    ]


def held_bytes() -> int:
    """Memory of this process that is of no file; 0 where the kernel does not say."""
    with open("/proc/self/status") as lines:
        return next((int(one.split()[1]) << 10 for one in lines if one.startswith("RssAnon:")), 0)


def has_large_folios(thp: str = THP) -> bool:
    """Whether the kernel may take any memory in pieces of some pages, which smaps does not show."""
    try:
        names = os.listdir(thp)
    except OSError:
        return False  # a kernel without any
    # Those of 2 MiB are seen.
    sizes = [one for one in names if one.startswith("hugepages-") and one != "hugepages-2048kB"]
    said = [_read(f"{thp}/{size}/enabled") for size in sizes]
    with_all = "[always]" in _read(f"{thp}/enabled")
    return any("[always]" in one or (with_all and "[inherit]" in one) for one in said)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""  # this kernel has none of that size


def find(areas: Iterable[maps.Mapping], pids: Iterable[int]) -> list[Area]:
    """Pages of processes that they share with no one, as they have written to them.

    ``areas``: what was writable before one was forked from the other. Who asks is a third that was
    forked there, too: so nothing of what it writes to itself is among them. No more than may be
    pinned. Raises OSError where the kernel does not say.
    """
    found: list[Area] = []
    left = MOST_PAGES
    pagemaps = [os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC) for pid in pids]
    try:
        for start, pages in (own for area in areas for own in _own(pagemaps, area)):
            if pages > left or len(found) == pinned.MOST_AREAS:
                break
            found.append((start, pages * _PAGE_BYTES))
            left -= pages
    finally:
        for pagemap in pagemaps:
            os.close(pagemap)
    return found


def _own(pagemaps: list[int], area: maps.Mapping) -> Iterator[tuple[int, int]]:
    """Address and number of pages that one of them has to itself."""
    first, pages = area.start // _PAGE_BYTES, area.size // _PAGE_BYTES
    for at in range(0, pages, _AT_ONCE):
        count = min(_AT_ONCE, pages - at)
        own = 0
        for pagemap in pagemaps:
            entries = os.pread(pagemap, count * 8, (first + at) * 8)
            own |= int.from_bytes(entries[7::8].translate(_OWN))
        for some in _PAGES.finditer(own.to_bytes(count)):
            yield area.start + (at + some.start()) * _PAGE_BYTES, len(some[0])


class OwnPages:
    """Of a process that forks: the pages, and what holds them pinned."""

    def __init__(self) -> None:
        self.areas: list[Area] = []
        #: Why its forks leave the copying to faults; "" where they do not, or it was told.
        self.reason = ""
        self._ring = -1
        self._tried = False

    def pin(self) -> None:
        """Have forks copy the pages from now on. Where that cannot be, ``reason`` says why."""
        if self._tried or not self.areas:
            return
        self._tried = True
        try:
            self._ring = pinned.pin(self.areas)
        except OSError as error:
            self.reason = str(error)

    def let_go(self) -> None:
        """In the process itself, or in a child that holds what its parent holds: no more."""
        self._tried = False
        if self._ring >= 0:
            os.close(self._ring)
            self._ring = -1
