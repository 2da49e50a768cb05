"""The mappings of this process that are shared with others, each with its kind.

Reads /proc/self/maps; changes nothing.
"""

from __future__ import annotations

import os

from rekindle.forkserver import kinds
from rekindle.forkserver.kinds import Kind
from rekindle.linux import maps
from rekindle.linux.maps import Mapping


def shared_mappings() -> list[tuple[Mapping, Kind]]:
    """All areas that are mapped MAP_SHARED."""
    return [(area, kind_of(area)) for area in maps.mappings() if area.permissions[3] == "s"]


def kind_of(one: Mapping) -> Kind:
    """The kind of a shared mapping."""
    link = one.path
    if link.startswith("/SYSV"):
        return kinds.SYSV_MAP
    if link.startswith(("anon_inode:", "/anon_hugepage", "/secretmem", "socket:")) or not link:
        return kinds.UNKNOWN
    if link == "/dev/zero (deleted)" or link.startswith(("/memfd:", "/dev/shm/", "[anon_shmem:")):
        is_readable = bool(one.prot & maps.PROT_READ)
        small = is_readable and one.size <= kinds.SETTLED_MEMORY_BYTES
        return kinds.MEMORY_MAP if small else kinds.LARGE_MEMORY_MAP
    if link.startswith("/dev/"):
        return kinds.DEVICE_MAP
    if link.endswith(" (deleted)"):
        return kinds.UNLINKED_MAP if one.size <= kinds.SETTLED_BYTES else kinds.LARGE_UNLINKED_MAP
    if not one.prot & maps.PROT_WRITE:
        return kinds.READ_MAP
    return kinds.SQLITE_INDEX if _is_sqlite_index(link) else kinds.FILE_MAP


def _is_sqlite_index(path: str) -> bool:
    # By name and neighbours alone: to open and close the database would drop its locks.
    database = path.removesuffix("-shm")
    return path.endswith("-shm") and os.path.exists(database) and os.path.exists(f"{database}-wal")


def private_mappings_of_unlinked() -> list[Mapping]:
    """Areas mapped privately from a file without a name, for which a restore would make a file."""
    return [
        area
        for area in maps.mappings()
        if area.permissions[3] == "p"
        and area.path.endswith(" (deleted)")
        and not area.path.startswith(("/memfd:", "/dev/zero", "/SYSV"))
    ]
