"""Areas of memory that the kernel empties in a forked child, emptied in a restored copy, too.

Who must know that it runs in a copy keeps its state in such an area: the generator behind glibc's
``getrandom`` (2.41 and later) in one that is *droppable*, BoringSSL and others a page that says
"no fork since". CRIU brings both back with their content, and droppable ones as ordinary memory,
which later forks would not empty either. So the areas are found before a process is frozen, and
made again, empty and with their flags, as the first thing in each copy.

Knows nothing of what lies in an area, nor who made it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rekindle.linux import maps, memory
from rekindle.linux.maps import Mapping

#: Of VmFlags in /proc/PID/smaps: wiped on fork, droppable.
_EMPTIED = frozenset({"wf", "dp"})


def find(smaps: str = "/proc/self/smaps") -> list[Mapping]:
    """The areas of this process that a forked child finds empty."""
    return areas_with(_EMPTIED, smaps)


def areas_with(wanted: Collection[str], smaps: str = "/proc/self/smaps") -> list[Mapping]:
    """The areas of this process that have one of the flags ``wanted`` (VmFlags)."""
    areas = maps.mappings_with_flags(smaps)
    return [area for area in areas if not area.vm_flags.isdisjoint(wanted)]


def renew(areas: Iterable[Mapping]) -> None:
    """Make each area again: empty, and with the flags that it had. Raises OSError."""
    for area in areas:
        memory.empty_area(area.start, area.size, area.prot, area.vm_flags)
