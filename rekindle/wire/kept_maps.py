"""Mappings that are read again: of memory files that the other end of a connection writes again.

A value's memory is mapped for as long as something sees it. The next value often lies in the same
file, and to map that anew costs a fault for every few pages that are read, and as much again at its
end. So the mapping is kept where none of its pages was written to here: it shows then what the
file has now. Standard library only: runners import this. Knows nothing of values and sockets.
"""

from __future__ import annotations

import gc
import mmap
import time
from collections import deque
from typing import NamedTuple

from rekindle.wire import memory
from rekindle.wire.memory_maps import allow_all, is_as_in_file, map_file, unmap

#: As many as the other end keeps files of a connection, and as much (wire/reuse.py).
_MOST, _MOST_BYTES = 4, 256 << 20
#: Smaller ones are mapped as quickly as they are looked at.
_FROM_BYTES = 1 << 20


class _Map(NamedTuple):
    at: int
    size: int
    inode: int
    #: When its last value went (monotonic seconds), and how often the collector had run by then.
    since: float = 0.0
    collected: int = 0


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
        status = memory.status(fd, size)
        inode, whole = status.st_ino, status.st_size
        self._used = time.monotonic()
        one = self._kept.pop(number, None)
        # A program may have protected the value before (mprotect).
        if one is not None and not (_is_good(one, inode, whole) and allow_all(one.at, one.size)):
            unmap(one.at, one.size)
            one = None
        self._drop_others(self._used - self._idle_after_s)
        if one is None:
            one = _Map(map_file(fd, whole, mmap.MAP_PRIVATE), whole, inode)
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
        if hasattr(self, "_used"):  # else a signal came as it was made
            self.close()

    def _drop(self, left: int, left_bytes: int = _MOST_BYTES) -> None:
        while (kept := list(self._kept.items())) and (
            len(kept) > left or sum(one.size for _, one in kept) > left_bytes
        ):
            self._drop_one(kept[0][0])

    def _drop_others(self, until: float) -> None:
        """Of files that nothing has come in since then: the other end may have dropped them."""
        for number, one in list(self._kept.items()):
            if one.since < until:
                self._drop_one(number)

    def _drop_one(self, number: int) -> None:
        if (one := self._kept.pop(number, None)) is not None:  # else another thread has it
            unmap(one.at, one.size)

    def _unseen(self, alone: bool, one: _Map, number: int) -> None:
        """``alone``: no forked child may see it."""
        keeps = self._open and alone and _FROM_BYTES <= one.size <= _MOST_BYTES
        if keeps and self.idle_s < self._idle_after_s and is_as_in_file(one.at, one.size):
            self._drop(_MOST - 1, _MOST_BYTES - one.size)
            self._kept[number] = one._replace(since=time.monotonic(), collected=_collections())
            if not self._open:
                self._drop(0)  # it was closed meanwhile
        else:
            unmap(one.at, one.size)
        if alone:
            self.gone.append(number)


def _is_good(one: _Map, inode: int, size: int) -> bool:
    """Whether it shows such a file, and nothing else.

    Of what the collector found in a cycle the end is told before ``__del__`` runs, which may still
    write: then it is looked at once more.
    """
    if (one.inode, one.size) != (inode, size):
        return False
    return one.collected == _collections() or is_as_in_file(one.at, one.size)


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())
