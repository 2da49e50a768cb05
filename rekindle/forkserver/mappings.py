"""The mappings of this process that are shared with others, each with its kind.

Reads /proc/self/maps; changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from rekindle.forkserver import kinds
from rekindle.forkserver.kinds import Kind

_READ, _WRITE, _EXECUTE = 1, 2, 4


@dataclass
class SharedMapping:
    """One area that is mapped MAP_SHARED."""

    start: int
    size: int
    prot: int
    offset: int
    inode: tuple[int, int]  # device, inode
    link: str
    kind: Kind


def shared_mappings() -> list[SharedMapping]:
    """All of them."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line[line.index(" ") + 4] != "s":
                continue
            fields = line.rstrip("\n").split(maxsplit=5)
            start, _, end = fields[0].partition("-")
            major, _, minor = fields[3].partition(":")
            one = SharedMapping(
                int(start, 16),
                int(end, 16) - int(start, 16),
                sum(
                    bit
                    for bit, letter in ((_READ, "r"), (_WRITE, "w"), (_EXECUTE, "x"))
                    if letter in fields[1]
                ),
                int(fields[2], 16),
                (os.makedev(int(major, 16), int(minor, 16)), int(fields[4])),
                fields[5] if len(fields) == 6 else "",
                kinds.UNKNOWN,
            )
            one.kind = _kind_of(one)
            found.append(one)
    return found


def _kind_of(one: SharedMapping) -> Kind:
    link = one.link
    if link.startswith("/SYSV"):
        return kinds.SYSV_MAP
    if link.startswith(("anon_inode:", "/anon_hugepage", "/secretmem", "socket:")) or not link:
        return kinds.UNKNOWN
    if link == "/dev/zero (deleted)" or link.startswith(("/memfd:", "/dev/shm/", "[anon_shmem:")):
        is_readable = bool(one.prot & _READ)
        small = is_readable and one.size <= kinds.SETTLED_MEMORY_BYTES
        return kinds.MEMORY_MAP if small else kinds.LARGE_MEMORY_MAP
    if link.startswith("/dev/"):
        return kinds.DEVICE_MAP
    if link.endswith(" (deleted)"):
        return kinds.UNLINKED_MAP if one.size <= kinds.SETTLED_BYTES else kinds.LARGE_UNLINKED_MAP
    if not one.prot & _WRITE:
        return kinds.READ_MAP
    return kinds.SQLITE_INDEX if _is_sqlite_index(link) else kinds.FILE_MAP


def _is_sqlite_index(path: str) -> bool:
    # By name and neighbours alone: to open and close the database would drop its locks.
    database = path.removesuffix("-shm")
    return path.endswith("-shm") and os.path.exists(database) and os.path.exists(f"{database}-wal")


@dataclass(frozen=True)
class PrivateMapping:
    """An area that is mapped privately from a file that has no name any more."""

    start: int
    size: int
    prot: int
    link: str


def private_mappings_of_unlinked() -> list[PrivateMapping]:
    """Those that a restore would have to make a file for."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            if not line.endswith(" (deleted)\n") or line[line.index(" ") + 4] != "p":
                continue
            fields = line.rstrip("\n").split(maxsplit=5)
            if fields[5].startswith(("/memfd:", "/dev/zero", "/SYSV")):
                continue
            start, _, end = fields[0].partition("-")
            prot = sum(
                bit
                for bit, letter in ((_READ, "r"), (_WRITE, "w"), (_EXECUTE, "x"))
                if letter in fields[1]
            )
            found.append(
                PrivateMapping(int(start, 16), int(end, 16) - int(start, 16), prot, fields[5])
            )
    return found
