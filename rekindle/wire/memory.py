"""Memory files: memory that one process writes and another one maps, without a name on any disk.

A writer's memfd can be written again, by a mapping that is kept: pages that are there already take
a tenth of the time of new ones. A reader maps it privately, and learns when nothing sees that any
more. Standard library only, and ctypes not before it is needed: runners import this. Knows
nothing of what is written, and not when it may be written again (wire/reuse.py).
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Sequence
from typing import Any

from rekindle.wire.copying import LARGE_BYTES, copy, threads
from rekindle.wire.memory_maps import map_file, unmap

#: What a reader asks for: that what it maps cannot be cut off under it, which would kill it.
_NEEDED_SEALS = fcntl.F_SEAL_SHRINK
_SEALS = _NEEDED_SEALS | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class MemoryNotWholeError(Exception):
    """Memory that came from elsewhere is not what its sender says."""


class MemoryFile:
    """A memfd in the process that writes it. ``number`` names it between two processes."""

    __slots__ = ("_at", "fd", "number", "sealed", "size")

    def __init__(self, number: int = 0, fd: int = -1) -> None:
        self.fd = fd
        self.number = number
        #: All of it: what was written up to ``seal``.
        self.size = 0
        self.sealed = False
        #: Where it is mapped; 0 where it is not.
        self._at = 0
        if fd < 0:
            self.fd = os.memfd_create("rekindle-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def again(self) -> MemoryFile:
        """The same memory once more, of no connection; it was sealed. Raises OSError."""
        other = MemoryFile(fd=os.dup(self.fd))
        other.size, other.sealed = self.size, True
        return other

    def takes(self, size: int) -> bool:
        """Whether so much can be written to it."""
        return not self.sealed or size <= self.size

    def write(self, data: bytes | bytearray | memoryview, at: int) -> None:
        """Write; up to ``size`` once it is sealed. Raises OSError."""
        self._write([(data, at)])

    def finish(self, parts: Sequence[tuple[memoryview, int]]) -> None:
        """Write contiguous parts, each where it says: the last that is written. Raises OSError."""
        end = _end(parts)
        if not self._at and not self.sealed and end - self.size >= LARGE_BYTES and threads() > 1:
            # New memory comes page by page, which several threads do side by side and one write
            # does not; and it is mapped then for when it is written again.
            os.ftruncate(self.fd, end)
            self.size = end
            self._map(mmap.MAP_SHARED)
            copy(parts, self._at, new=True)
        else:
            self._write(parts)

    def _write(self, parts: Sequence[tuple[bytes | bytearray | memoryview, int]]) -> None:
        end = _end(parts)
        if self._at:
            if end > self.size:
                raise ValueError("a value is longer than its memory file")
            copy(parts, self._at)
            return
        for data, at in parts:
            _write(self.fd, data, at)
        self.size = max(self.size, end)

    def seal(self) -> None:
        """Keep its size from now on, whoever has its descriptor."""
        if not self.sealed:
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
            self.sealed = True

    def reuse(self) -> None:
        """It is about to be written again: by a mapping, which is worth it by now."""
        if not self._at:
            # All pages are there: one call puts them into the page table, not one fault for each.
            self._map(mmap.MAP_SHARED | mmap.MAP_POPULATE)

    def close(self) -> None:
        """Let go of it; the memory stays for as long as a process has it mapped."""
        # Taken out first: an interrupt must not have it closed again, when it is another's by then.
        at, self._at = self._at, 0
        if at:
            unmap(at, self.size)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _map(self, flags: int) -> None:
        self._at = map_file(self.fd, self.size, flags)

    def __del__(self) -> None:
        if hasattr(self, "_at"):  # else a signal came as it was made
            self.close()  # an interrupt came before it was closed


def _end(parts: Sequence[tuple[bytes | bytearray | memoryview, int]]) -> int:
    return max((memoryview(data).nbytes + at for data, at in parts), default=0)


def _write(fd: int, data: bytes | bytearray | memoryview, at: int) -> None:
    with memoryview(data) as given, given.cast("B") as view:
        done = 0
        while done < len(view):
            with view[done:] as left:
                done += os.pwrite(fd, left, at + done)


# ---- reading -----------------------------------------------------------------------------------

#: Forks of this process that have begun, or ended; and those that go on.
_forks = _forking = 0


def map_private(fd: int, size: int, gone: Callable[[], object] | None = None) -> memoryview:
    """The first ``size`` bytes of a memfd, until the view and all views of it are gone.

    It holds no descriptor: a program that keeps a thousand results would run out of them. ``gone``
    is called, on any thread, when nothing can see the memory any more, and never where a forked
    child may.

    Raises OSError, MemoryNotWholeError.
    """
    status(fd, size)

    def unseen(alone: bool, at: int) -> None:
        unmap(at, size)
        if gone is not None and alone:
            gone()

    at = map_file(fd, size, mmap.MAP_PRIVATE)
    return view_until(at, size, unseen, at)


def status(fd: int, size: int) -> os.stat_result:
    """Of a memfd, of which so much is to be read. Raises MemoryNotWholeError, OSError."""
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _NEEDED_SEALS != _NEEDED_SEALS:
        raise MemoryNotWholeError("shared memory is not sealed")
    found = os.fstat(fd)
    if not 0 < size <= found.st_size:
        raise MemoryNotWholeError("shared memory is not whole")
    return found


def view_until(at: int, size: int, unseen: Callable[..., object], *args: Any) -> memoryview:
    """A view of memory that is mapped at ``at``.

    Once it and all views of it are gone ``unseen(alone, *args)`` is called, on any thread and not
    at the interpreter's end; ``alone``: no child that was forked meanwhile may see the memory.
    """
    import ctypes
    import weakref

    memory = (ctypes.c_ubyte * size).from_address(at)
    weakref.finalize(memory, _unseen, _forks, unseen, *args).atexit = False
    return memoryview(memory).cast("B")


def _unseen(forks: int, unseen: Callable[..., object], *args: Any) -> None:
    # A child that was forked meanwhile has this mapping too, and what it has not written to there
    # is still the file's.
    unseen(forks == _forks and not _forking, *args)


def _fork_begins() -> None:
    global _forks, _forking
    _forks += 1
    _forking += 1


def _fork_ended() -> None:
    global _forks, _forking
    _forks += 1
    _forking -= 1


def _forked() -> None:
    global _forks, _forking
    _forks += 1
    _forking = 0


os.register_at_fork(before=_fork_begins, after_in_parent=_fork_ended, after_in_child=_forked)
