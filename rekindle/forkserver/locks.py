"""File locks that this process holds, and how its copies come to hold them.

POSIX locks are not inherited over a fork, and no two processes can hold the same exclusive lock. A
shared lock can be had by every copy: the template keeps it while it lives, each copy takes its own.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass

from rekindle.forkserver.open_files import OpenFile

_OFD_SETLK = 37


@dataclass(frozen=True)
class HeldLock:
    """A lock on a file that is open here."""

    fd: int
    link: str
    family: str  # POSIX, FLOCK, OFDLCK, LEASE, DELEG
    is_shared: bool
    start: int
    length: int  # 0: to the end of the file

    @property
    def can_be_had_by_copies(self) -> bool:
        """Whether each copy can hold it, too."""
        return self.is_shared and self.family in ("POSIX", "FLOCK", "OFDLCK")

    def in_words(self) -> str:
        """For messages."""
        how = "shared" if self.is_shared else "exclusive"
        what = {"FLOCK": "flock", "OFDLCK": "OFD"}.get(self.family, self.family)
        if self.family in ("LEASE", "DELEG"):
            return f"fd {self.fd} holds a lease on {self.link}"
        return f"fd {self.fd} holds an {how} {what} lock on {self.link}".replace("an s", "a s")


def held_locks(everything: list[OpenFile]) -> list[HeldLock]:
    """From the fdinfo of what is open; a POSIX lock is reported once a file, however often open."""
    found: dict[tuple[object, ...], HeldLock] = {}
    for one in everything:
        for line in one.info.splitlines():
            if not line.startswith("lock:"):
                continue
            # lock: 1: POSIX  ADVISORY  READ 20499 fe:00:16039947 1073741826 1073742335
            family, _advice, way, _pid, where, first, last = line.split()[2:9]
            start = int(first)
            length = 0 if last == "EOF" else int(last) - start + 1
            # A shared POSIX lock can only be taken by a descriptor that may read.
            lock = HeldLock(one.fd, one.link, family, way == "READ", start, length)
            found.setdefault((family, where, first, last), lock)
    return list(found.values())


def take(lock: HeldLock) -> None:
    """Hold it in this process, too. Raises OSError where another has an exclusive one by now."""
    _set(lock, fcntl.F_RDLCK)


def release(lock: HeldLock) -> None:
    """Let it go, so that this process can be frozen."""
    _set(lock, fcntl.F_UNLCK)


def _set(lock: HeldLock, kind: int) -> None:
    if lock.family == "FLOCK":
        how = fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_SH
        fcntl.flock(lock.fd, how | fcntl.LOCK_NB)
        return
    command = fcntl.F_SETLK if lock.family == "POSIX" else _OFD_SETLK
    fcntl.fcntl(
        lock.fd, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, lock.start, lock.length, 0)
    )
