"""What user code's handlers at fork have closed or unmapped in a template since that parked.

They run around each of its forks. What is gone in the template no copy gets either: made anew, it
would take a number or an address that is free, or something else by now.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field

from rekindle.forkserver import kinds
from rekindle.forkserver.locks import HeldLock
from rekindle.forkserver.open_files import OpenFile
from rekindle.forkserver.shared_memory import MemoryObject
from rekindle.linux import maps


@dataclass
class Standing:
    """What descriptors and addresses stood for before such a handler ran first, by inode."""

    fds: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: Start of an area -> its end and inode.
    areas: dict[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: list[OpenFile], objects: list[MemoryObject]) -> Standing:
        """Now. Raises OSError."""
        fds = {fd: found for one in files for fd in one.fds if (found := _inode_of(fd))}
        return cls(fds, _areas() if any(one.mappings for one in objects) else {})

    def open_still(self, files: list[OpenFile]) -> list[OpenFile]:
        """Those of ``files`` that are, each with the descriptors that are. An end of a pair whose
        other end is gone is left out: there is nobody to be shared with."""
        kept = []
        for one in files:
            one.fds = tuple(fd for fd in one.fds if self.fds.get(fd) == _inode_of(fd))
            if one.fds:
                kept.append(one)
        fds = {fd for one in kept for fd in one.fds}
        gone = self.fds.keys() - fds
        for one in kept:
            if one.kind is kinds.EPOLL:
                one.info = _without_watches(one.info, gone)
        return [one for one in kept if one.peer_fd < 0 or one.peer_fd in fds]

    def unmap_what_is_gone(self, objects: list[MemoryObject], files: list[OpenFile]) -> None:
        """Take from ``objects`` what is not open or mapped any more. Raises OSError."""
        now = _areas() if any(one.mappings for one in objects) else {}
        for one in objects:
            one.files = [file for file in one.files if file in files]
            one.mappings = [
                area
                for area in one.mappings
                if now.get(area.start) == self.areas.get(area.start) and area.start in now
            ]


def _without_watches(info: str, gone: Collection[int]) -> str:
    """The fdinfo of an epoll without those of closed descriptors, which the kernel has dropped."""
    lines = info.splitlines(keepends=True)
    of_gone = tuple(f"tfd: {fd:8d} " for fd in gone)
    return "".join(line for line in lines if not line.startswith(of_gone))


def held_still(held: list[HeldLock], files: list[OpenFile]) -> list[HeldLock]:
    """The locks whose files are open."""
    fds = {one.fd for one in files}
    return [lock for lock in held if lock.fd in fds]


def _inode_of(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _areas() -> dict[int, tuple[int, int]]:
    return {area.start: (area.end, area.inode) for area in maps.mappings() if area.inode}
