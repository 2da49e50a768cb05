"""Areas of memory that the kernel empties in a forked child, emptied in a restored copy, too.

Who must know that it runs in a copy keeps its state in such an area: the generator behind glibc's
``getrandom`` (2.41 and later) in one that is *droppable*, BoringSSL and others a page that says
"no fork since". CRIU brings both back with their content, and droppable ones as ordinary memory,
which later forks would not empty either. So the areas are found before a process is frozen, and
made anew, empty and with their flags, as the first thing in each copy.

Knows nothing of what lies in an area, nor who made it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rekindle.runtime.isolation import linux

#: Of VmFlags in /proc/PID/smaps: wiped on fork, droppable.
_EMPTIED = frozenset({"wf", "dp"})

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ([r-][w-][x-])")


@dataclass(frozen=True)
class WipedArea:
    """One area, as the kernel describes it."""

    start: int
    end: int
    permissions: str  # "rw-"
    vm_flags: frozenset[str]


def find(smaps: str = "/proc/self/smaps") -> list[WipedArea]:
    """The areas of this process that a forked child finds empty."""
    return areas_with(_EMPTIED, smaps)


def areas_with(wanted: Collection[str], smaps: str = "/proc/self/smaps") -> list[WipedArea]:
    """The areas of this process that have one of the flags ``wanted`` (VmFlags)."""
    found = []
    start = end = 0
    permissions = ""
    with open(smaps) as lines:
        for line in lines:
            if line.startswith("VmFlags:"):
                flags = frozenset(line.split()[1:])
                if not flags.isdisjoint(wanted):
                    found.append(WipedArea(start, end, permissions, flags))
            elif head := _HEAD.match(line):
                start, end = int(head[1], 16), int(head[2], 16)
                permissions = head[3]
    return found


def renew(areas: Iterable[WipedArea]) -> None:
    """Make each area anew: empty, and with the flags that it had. Raises OSError."""
    for area in areas:
        linux.empty_area(area.start, area.end - area.start, area.permissions, area.vm_flags)
