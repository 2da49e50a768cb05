"""The mappings of a process as /proc/PID/maps, smaps and smaps_rollup list them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4


class Mapping(NamedTuple):
    """One area of memory."""

    start: int
    end: int
    permissions: str  # "rw-p"; the last letter is "s" for one that is shared
    offset: int
    device: int
    inode: int
    path: str  # what it is a mapping of, "" for anonymous memory
    #: Of VmFlags in smaps.
    vm_flags: frozenset[str] = frozenset()
    #: Whether huge pages were seen in it, by smaps.
    is_huge: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def prot(self) -> int:
        """The permissions as mmap(2) has them."""
        bits = zip("rwx", (PROT_READ, PROT_WRITE, PROT_EXEC), strict=True)
        return sum(bit for letter, bit in bits if letter in self.permissions)


def mappings(pid: int | str = "self") -> Iterator[Mapping]:
    """All of a process. Raises OSError."""
    with open(f"/proc/{pid}/maps") as lines:
        for line in lines:
            yield _parse(line)


def mappings_with_flags(
    smaps: str = "/proc/self/smaps",
) -> Iterator[Mapping]:
    """All of this process, each with its flags. Raises OSError."""
    head, is_huge = "", False
    with open(smaps) as lines:
        for line in lines:
            if line.startswith("VmFlags:"):
                flags = frozenset(line.split()[1:])
                yield _parse(head)._replace(vm_flags=flags, is_huge=is_huge)
            elif line.startswith("AnonHugePages:"):
                is_huge = line.split()[1] != "0"
            elif "-" in line.partition(" ")[0]:  # "Shared_Clean:" and its like have none
                head = line


class Share(NamedTuple):
    """Of one process, bytes."""

    rss: int = 0
    pss: int = 0
    mapped: int = 0  # the part of its pss that lies in files
    private: int = 0  # what is its own alone: freed when it ends


def share_of(pid: int) -> Share | None:
    """What a process holds now; None when it is gone."""
    try:
        found = rollup(pid)
    except OSError:
        return None
    if not found:
        return None  # it has ended and is not reaped yet
    private = found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)
    return Share(found.get("Rss", 0), found.get("Pss", 0), found.get("Pss_File", 0), private)


def rollup(pid: int) -> dict[str, int]:
    """Totals of a process's smaps in bytes, by name (Rss, Pss, Private_Dirty). Raises OSError."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if rest.endswith(" kB\n"):
                found[name] = int(rest.split()[0]) * 1024
    return found


def _parse(line: str) -> Mapping:
    fields = line.rstrip("\n").split(maxsplit=5)
    start, _, end = fields[0].partition("-")
    major, _, minor = fields[3].partition(":")
    return Mapping(
        int(start, 16),
        int(end, 16),
        fields[1],
        int(fields[2], 16),
        os.makedev(int(major, 16), int(minor, 16)),
        int(fields[4]),
        fields[5] if len(fields) == 6 else "",
    )
