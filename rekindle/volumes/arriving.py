"""Files of a store on their way to their places: some are written beside, then put there together.

Each is on the disk before it is in its place and noted: what a power cut took of it would count as
changed here. To wait for the disk by each file alone takes longer than all else, so many wait
together. Knows nothing of stores.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, BinaryIO

from rekindle.linux.libc import check, libc
from rekindle.volumes.turn import Turn

#: So many files, and about so many bytes, are put into place together; each has two descriptors.
_MOST, _MOST_BYTES = 64, 64 << 20
_PIECE_BYTES = 1 << 20
#: From so many on the whole file system is written out, as by a push: by one wait for the disk. Of
#: few, others' files on it are not waited for.
_MANY = 8


class _ChangedHereError(Exception):
    """A file was written while another one was on its way to its place."""


@dataclass(frozen=True)
class _Written:
    """A file that is written; the end of ``placing`` gives it its place."""

    path: str
    #: Size and modification time of what is in its place; empty for nothing.
    before: list[int]
    mark: str
    target: BinaryIO
    placing: contextlib.ExitStack


@dataclass(eq=False)
class Arriving:
    """See the module."""

    _turn: Turn
    _written: list[_Written] = field(default_factory=list)
    _bytes: int = 0

    def write(self, path: str, source: IO[bytes], before: list[int], mark: str) -> None:
        """Write one, which goes to its place with others; a file that is not as ``before`` stays.

        Raises VolumeError, OSError, what ``source`` does.
        """
        self._turn.tree.remove_bare(path)
        with contextlib.ExitStack() as placing:
            target = placing.enter_context(self._turn.tree.write(path))
            while piece := source.read(_PIECE_BYTES):
                self._bytes += target.write(piece)
            target.flush()
            # Set, as some file systems set it themselves when the file is closed.
            os.utime(target.fileno())
            self._written.append(_Written(path, before, mark, target, placing.pop_all()))
        if len(self._written) >= _MOST or self._bytes >= _MOST_BYTES:
            self.place()

    def place(self) -> None:
        """Put all that are written into their places, noted. Raises VolumeError, OSError."""
        written, self._written, self._bytes = self._written, [], 0
        with contextlib.ExitStack() as not_placed:
            for one in written:
                not_placed.push(one.placing)  # does nothing for one that is in its place
            _write_out([one.target.fileno() for one in written])
            for one in written:
                with contextlib.suppress(_ChangedHereError):
                    self._place(one)

    def _place(self, one: _Written) -> None:
        with one.placing:
            if self._turn.seen(one.path) != one.before:
                raise _ChangedHereError
            info = os.fstat(one.target.fileno())
        self._turn.note(one.path, [info.st_size, info.st_mtime_ns, one.mark])


def _write_out(files: Sequence[int]) -> None:
    """Have files of one file system on the disk. Raises OSError."""
    if len(files) < _MANY:
        for fd in files:
            os.fsync(fd)
        return
    check(libc.syncfs(ctypes.c_int(files[0])), "sync the file system")
