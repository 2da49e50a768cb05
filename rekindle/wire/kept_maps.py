"""Mappings that are read again: of memory files that the other end of a connection writes again.

A value's memory is mapped for as long as something sees it. The next value often lies in the same
file, and to map that anew costs a fault for every few pages that are read, and as much again at its
end. So the mapping is kept where none of its pages was written to here: it shows then what the
file has now. Standard library only: runners import this. Knows nothing of values and sockets.
"""

from __future__ import annotations

import mmap
import os
import time
from collections import deque
from dataclasses import dataclass

from rekindle.wire import memory
from rekindle.wire.memory_maps import is_as_in_file, map_file, unmap

#: As many as the other end keeps files of a connection (wire/reuse.py).
_MOST = 4
#: Smaller ones are mapped as quickly as they are looked at.
_FROM_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Map:
    at: int
    size: int
    inode: int


class KeptMaps:
    """Those of one end of a connection, and which files nothing sees here any more.

    One thread at a time maps; the last reference to a value may go on any thread, inside of
    whatever that does: what happens then takes no lock. Nothing is kept for a value that was seen
    for longer than ``idle_after_s``: nobody looks any more then whether it is to be dropped.
    """

    __slots__ = ("_idle_after_s", "_kept", "_open", "_used", "gone")

    def __init__(self, idle_after_s: float) -> None:
        self._idle_after_s = idle_after_s
        #: Numbers of files that nothing here sees any more, to be told to the other end.
        self.gone: deque[int] = deque()
        self._kept: dict[int, _Map] = {}  # oldest first
        self._open = True
        self._used = 0.0

    def view(self, fd: int, number: int, size: int) -> memoryview:
        """The first ``size`` bytes of the file with this number, as ``memory.map_private``.

        Raises OSError, MemoryNotWholeError.
        """
        whole = memory.whole_size(fd, size)
        inode = os.fstat(fd).st_ino
        self._used = time.monotonic()
        one = self._kept.pop(number, None)
        if one is not None and (one.inode, one.size) != (inode, whole):
            unmap(one.at, one.size)
            one = None
        if one is None:
            one = _Map(map_file(fd, whole, mmap.MAP_PRIVATE), whole, inode)
            self._drop(_MOST - 1)  # it is one more, later
        return memory.view_until(one.at, size, self._unseen, one, number)

    @property
    def any(self) -> bool:
        """Whether something is kept, or may be soon."""
        return bool(self._kept) or self.idle_s < self._idle_after_s

    @property
    def idle_s(self) -> float:
        """How long nothing came."""
        return time.monotonic() - self._used

    def drop(self) -> None:
        """Keep nothing."""
        self._drop(0)

    def close(self) -> None:
        """The connection has ended."""
        self._open = False
        self._drop(0)

    def __del__(self) -> None:
        self.close()

    def _drop(self, left: int) -> None:
        while len(self._kept) > left:
            try:
                one = self._kept.pop(next(iter(self._kept)))
            except (KeyError, StopIteration, RuntimeError):
                continue  # another thread changed it just now
            unmap(one.at, one.size)

    def _unseen(self, alone: bool, one: _Map, number: int) -> None:
        """``alone``: no forked child may see it."""
        keeps = self._open and alone and one.size >= _FROM_BYTES
        if keeps and self.idle_s < self._idle_after_s and is_as_in_file(one.at, one.size):
            self._kept[number] = one
            if not self._open:
                self._drop(0)  # it was closed meanwhile
        else:
            unmap(one.at, one.size)
        if alone:
            self.gone.append(number)
