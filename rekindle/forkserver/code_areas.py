"""Areas of memory of one library's code, joined where only their permissions keep them apart.

Linkers put what is read and never run (headers and tables before the code, constants behind it)
beside the code of each library, as areas of their own. Every restore, fork and exit pays for each
area. Joined, such bytes may be run, too, as with linkers before 2018; nothing more can be written.

Knows nothing of snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rekindle.linux import maps, memory
from rekindle.linux.maps import Mapping

_CODE, _CONSTANT = "r-xp", "r--p"
#: Of VmFlags in /proc/PID/smaps: it could be written to, as what the linker has filled in could be.
#: The kernel never joins such an area with another, so it is left as it is.
_COULD_BE_WRITTEN = "ac"


def join() -> None:
    """Join those of this process. Where the system forbids it (SELinux, say), they stay as they
    are: that takes time, and nothing else."""
    for run in list(_joinable(maps.mappings_with_flags())):
        memory.allow(run[0].start, run[-1].end - run[0].start, maps.PROT_READ | maps.PROT_EXEC)


def _joinable(areas: Iterable[Mapping]) -> Iterator[list[Mapping]]:
    """Runs of areas that hold code and constants of one file, as they lie side by side there."""
    run: list[Mapping] = []
    for area in areas:
        if run and not _continues(run[-1], area):
            yield from _with_code(run)
            run = []
        if _is_ours(area):
            run.append(area)
    yield from _with_code(run)


def _with_code(run: list[Mapping]) -> Iterator[list[Mapping]]:
    if len(run) > 1 and any(area.permissions == _CODE for area in run):
        yield run


def _continues(before: Mapping, area: Mapping) -> bool:
    return (
        _is_ours(area)
        and (area.device, area.inode) == (before.device, before.inode)
        and area.start == before.end
        and area.offset == before.offset + before.size
    )


def _is_ours(area: Mapping) -> bool:
    return (
        area.inode != 0
        and area.permissions in (_CODE, _CONSTANT)
        and _COULD_BE_WRITTEN not in area.vm_flags
    )
