"""Memory files that are used again: those of one end of a direct connection.

The end that writes a value into one keeps it, sends its number with the value, and writes it again
once the other end has said that nothing sees the memory any more. Each connection has its own, as
what a former value left in a file is for the other end of that connection alone. Standard library
only: runners import this. Knows nothing of values and sockets.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable

from rekindle.wire.kept_maps import KeptMaps
from rekindle.wire.memory import MemoryFile

#: One connection keeps so many: a caller that holds the last result while it asks for the next one
#: uses two in turn, and values of two sizes may.
FILES = 4
#: All connections of a process together keep so much, also of what the other end still has. Room
#: for the largest value, or for two of a hundred megabytes in turn.
KEPT_BYTES = 256 << 20
#: And so many: this part of the descriptors that a process may have open.
_PART = 8
#: What has not been used for so long is memory again. Longer than a caller computes between two
#: calls of a loop, shorter than the five seconds after which an agent takes an unused lease back.
IDLE_S = 3.0
#: A file is not used for a value that is smaller than it by this factor: who keeps that value
#: would keep all of the file.
_WASTE = 4


class MemoryFiles:
    """The files of one end: those that it writes, with the other one or back from there, and those
    that it reads.

    One thread at a time writes; another may drop what is idle. ``any`` and ``idle_s`` say when.
    """

    __slots__ = (
        "__weakref__",
        "_back",
        "_closed",
        "_lock",
        "_maps",
        "_numbers",
        "_out",
        "_used",
        "bytes",
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._out: dict[int, MemoryFile] = {}  # both oldest first
        self._back: list[MemoryFile] = []
        self._closed = False
        self._used = 0.0
        self._maps = KeptMaps(IDLE_S)
        #: What is kept.
        self.bytes = 0

    def take(self, size: int, *, or_more: bool = False) -> MemoryFile:
        """A file to write ``size`` bytes to, to be given to ``sent`` or to ``unused``.

        ``or_more``: it is not known yet how much it will be. Raises OSError.
        """
        _ends[id(self)] = self  # most never have a file
        with self._lock:
            fit = [f for f in self._back if size <= f.size and (or_more or not is_waste(f, size))]
            if fit:
                file = (max if or_more else min)(fit, key=lambda f: f.size)
                self._forget(file)
            else:
                file = MemoryFile(next(self._numbers))
        if fit:
            file.reuse()
        return file

    def unused(self, file: MemoryFile) -> None:
        """Take a file back that was not sent."""
        if file.sealed:
            self._keep(file, out=False)
        else:
            file.close()  # a new one, of a value that was too large or could not be pickled

    def sent(self, file: MemoryFile) -> None:
        """Note that the other end has a file."""
        self._keep(file, out=True)

    def came_back(self, numbers: Iterable[int]) -> None:
        """The other end says that nothing sees what is in them any more."""
        with self._lock:
            for number in filter(self._out.__contains__, numbers):
                self._back.append(self._out.pop(number))

    def view(self, fd: int, number: int, size: int) -> memoryview:
        """The first ``size`` bytes of a file of the other end, as ``memory.map_private``.

        Raises OSError, MemoryNotWholeError.
        """
        _ends[id(self)] = self
        return self._maps.view(fd, number, size)

    @property
    def gone(self) -> deque[int]:
        """Numbers of files of the other end that nothing here sees any more, to be told there."""
        return self._maps.gone

    @property
    def files(self) -> int:
        """As many as are kept of those that this end writes."""
        return len(self._back) + len(self._out)

    @property
    def any(self) -> bool:
        """Whether something is kept, or may be soon."""
        return self.bytes > 0 or self._maps.any

    @property
    def idle_s(self) -> float:
        """How long nothing was sent, and nothing came."""
        return min(time.monotonic() - self._used, self._maps.idle_s)

    def drop(self) -> None:
        """Keep nothing; what the other end still has is never written again."""
        with self._lock:
            self._drop()
        self._maps.drop()

    def close(self) -> None:
        """The connection has ended."""
        with self._lock:
            self._closed = True
            self._drop()
        self._maps.close()

    def abandon(self) -> None:
        """In a forked child: the parent's thread that had the lock is not here."""
        self._lock = threading.Lock()
        self.close()

    # ---- under the lock, but for _keep

    def _keep(self, file: MemoryFile, *, out: bool) -> None:
        with self._lock:
            self._used = time.monotonic()
            if self._closed or not self._make_room(file.size):
                file.close()
            elif out:
                self._out[file.number] = file
            else:
                self._back.append(file)
            self.bytes = self._count()

    def _make_room(self, size: int) -> bool:
        others = kept_bytes() - self.bytes
        if others + size > KEPT_BYTES:
            return False
        if kept_files() >= most_files():
            self._drop()  # if not here, then some go elsewhere once they are not used
            return False
        while True:
            count, kept = len(self._back) + len(self._out), self._count()
            if count < FILES and others + kept + size <= KEPT_BYTES:
                return True
            # Those that are out may never come back, but then they are used: the memory is not
            # ours to save.
            oldest = self._back[0] if self._back else next(iter(self._out.values()))
            self._forget(oldest)
            oldest.close()

    def _forget(self, file: MemoryFile) -> None:
        if file in self._back:
            self._back.remove(file)
        else:
            del self._out[file.number]
        self.bytes = self._count()

    def _count(self) -> int:
        return sum(f.size for f in self._back) + sum(f.size for f in self._out.values())

    def _drop(self) -> None:
        for file in (*self._back, *self._out.values()):
            file.close()
        self._back.clear()
        self._out.clear()
        self.bytes = 0


def is_waste(file: MemoryFile, size: int) -> bool:
    """Whether the file is much too large for so many bytes."""
    return file.size > _WASTE * size


# ---- all of this process -----------------------------------------------------------------------

_ends: weakref.WeakValueDictionary[int, MemoryFiles] = weakref.WeakValueDictionary()


def _all() -> list[MemoryFiles]:
    return [end for ref in _ends.valuerefs() if (end := ref()) is not None]


def kept_bytes() -> int:
    """What this process keeps to write it again."""
    return sum(end.bytes for end in _all())


def kept_files() -> int:
    """As many files as it keeps."""
    return sum(end.files for end in _all())


def most_files() -> int:
    """As many as it may keep."""
    may_open = os.sysconf("SC_OPEN_MAX")  # -1: as many as one likes
    return max(FILES, may_open // _PART) if may_open > 0 else sys.maxsize


def drop_idle() -> bool:
    """Drop what was not used for a while; whether something is left."""
    for end in _all():
        if end.any and end.idle_s >= IDLE_S:
            end.drop()
    return any(end.any for end in _all())


def _forget_in_child() -> None:
    for end in _all():
        end.abandon()


os.register_at_fork(after_in_child=_forget_in_child)
