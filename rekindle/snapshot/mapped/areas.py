"""Which memory areas may be mapped from the page file, and which must stay as they are, and why.

An area that is mapped shows the snapshot's bytes again after ``MADV_DONTNEED``, never huge pages,
and shares its clean pages. Each rule below names an area for which that would be wrong or useless.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from rekindle.exception import SnapshotError

PAGE_BYTES = 4096

PROT_EXEC = 4

# Bits of a VMA entry's status (CRIU's image format, criu/include/image.h).
VMA_REGULAR = 1 << 0
VMA_HEAP = 1 << 5
VMA_FILE_PRIVATE = 1 << 6
VMA_ANON_PRIVATE = 1 << 9
_ANONYMOUS_STATUS = VMA_REGULAR | VMA_ANON_PRIVATE | VMA_HEAP
_FILE_STATUS = VMA_REGULAR | VMA_FILE_PRIVATE

MAP_PRIVATE = 0x02
MAP_ANONYMOUS = 0x20
MAP_GROWSDOWN = 0x0100
MAP_LOCKED = 0x2000
MAP_NORESERVE = 0x4000
MAP_STACK = 0x20000
MAP_HUGETLB = 0x40000

# Bits of an area's advice: 1 << the number of the madvise call.
MADV_DONTFORK = 1 << 10
MADV_MERGEABLE = 1 << 12
MADV_HUGEPAGE = 1 << 14
MADV_NOHUGEPAGE = 1 << 15
MADV_DONTDUMP = 1 << 16
MADV_WIPEONFORK = 1 << 18
#: Advice that means the same for a mapped area.
_HARMLESS_ADVICE = MADV_NOHUGEPAGE | MADV_DONTDUMP

#: Areas below this are not looked into: what is in them is copied in less time than it takes to
#: cut them. Measured with a torch process: 2.1 MB copied instead of 1.6 MB, at the same 15 ms.
SMALL_BYTES = 64 << 10


class NotMappableError(SnapshotError):
    """The snapshot is whole, but restored by copying; the message says why."""


class Keep(Enum):
    """Why an area stays as it is."""

    SPECIAL = "shared memory or a special area"
    GROWS_DOWN = "a stack that grows down"
    LOCKED = "locked in memory"
    HUGE_PAGES = "its owner asked for huge pages"
    ADVICE = "its owner gave advice that a file mapping does not follow"
    EXECUTABLE = "code"
    FLAGS = "flags that a file mapping does not have"
    ALLOCATOR = "it may belong to an allocator that takes discarded memory for zeros"
    SMALL = "small"


@dataclass(frozen=True)
class Rules:
    """What the caller decides about areas."""

    small_bytes: int = SMALL_BYTES
    #: Map areas whose owner asked for huge pages: NumPy does so for each array of 4 MiB and more.
    #: Their start gets cheap, and they lose huge pages.
    map_huge_pages: bool = False
    #: Keep areas mapped with MAP_NORESERVE: those of the allocators that `allocators` found.
    keep_unreserved: bool = False


def is_file(area: Any) -> bool:
    """Whether it is a private mapping of a file, of which the images hold the written pages alone.

    Libraries have megabytes of such pages, relocated at load. They are mapped from the page file,
    the rest of the area from its own file as before.
    """
    return bool(area.status == _FILE_STATUS)


def reason_to_keep(area: Any, rules: Rules) -> Keep | None:
    """Why a VMA entry has to stay as it is; None when it may be mapped."""
    if is_file(area):
        private = MAP_PRIVATE
    elif area.status & VMA_ANON_PRIVATE and not area.status & ~_ANONYMOUS_STATUS:
        private = MAP_PRIVATE | MAP_ANONYMOUS
    else:
        return Keep.SPECIAL
    if area.flags & MAP_GROWSDOWN:
        return Keep.GROWS_DOWN
    if area.flags & MAP_LOCKED:
        return Keep.LOCKED
    if area.flags & MAP_HUGETLB:
        return Keep.HUGE_PAGES
    advice = area.madv & ~_HARMLESS_ADVICE
    if advice & MADV_HUGEPAGE and not rules.map_huge_pages:
        return Keep.HUGE_PAGES
    if advice & ~MADV_HUGEPAGE:
        return Keep.ADVICE
    if area.prot & PROT_EXEC:  # the page file may be on a mount, or under a policy, without code
        return Keep.EXECUTABLE
    if area.flags & ~(MAP_NORESERVE | MAP_STACK) != private:
        return Keep.FLAGS
    if area.flags & MAP_NORESERVE and rules.keep_unreserved:
        return Keep.ALLOCATOR
    if area.end - area.start < rules.small_bytes:
        return Keep.SMALL
    return None
