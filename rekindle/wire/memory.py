"""Memory files: memory that one process writes and another one maps, without a name on any disk.

A writer's memfd can be written again, by a mapping that is kept: pages that are there already take
a quarter of the time of new ones. A reader maps it privately, and learns when nothing sees that any
more. Standard library only, and ctypes not before it is needed: runners import this. Knows
nothing of what is written, and not when it may be written again (wire/reuse.py).
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a reader asks for: that what it maps cannot be cut off under it, which would kill it.
_NEEDED_SEALS = fcntl.F_SEAL_SHRINK
_SEALS = _NEEDED_SEALS | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
#: Copied in one go while the interpreter is held: other threads wait for 1 ms, not for 10.
_PIECE_BYTES = 8 << 20
#: So much is copied by several threads, this one too, with the interpreter let go: one alone does
#: not use all that the memory gives. They take turns of so many bytes.
_THREADS_FROM, _COPIERS, _TURN_BYTES = 32 << 20, 4, 1 << 20
#: From here on bytes are worth huge pages, as NumPy has it: a hundred megabytes of small ones take
#: twice as long to make as to copy.
_HUGE_FROM = 4 << 20


class MemoryNotWholeError(Exception):
    """Memory that came from elsewhere is not what its sender says."""


class MemoryFile:
    """A memfd in the process that writes it. ``number`` names it between two processes."""

    __slots__ = ("_map", "fd", "number", "sealed", "size")

    def __init__(self, number: int = 0) -> None:
        self.fd = -1
        self.number = number
        #: All of it: what was written up to ``seal``.
        self.size = 0
        self.sealed = False
        self._map: mmap.mmap | None = None
        self.fd = os.memfd_create("rekindle-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def takes(self, size: int) -> bool:
        """Whether so much can be written to it."""
        return not self.sealed or size <= self.size

    def write(self, data: bytes | bytearray | memoryview, at: int) -> None:
        """Write; up to ``size`` once it is sealed. Raises OSError."""
        with memoryview(data) as given, given.cast("B") as view:
            if self._map is None:
                _write(self.fd, view, at)
                self.size = max(self.size, at + len(view))
                return
            if len(view) >= _THREADS_FROM and _copy_by_threads(view, self._map, at):
                return
            for begin in range(0, len(view), _PIECE_BYTES):
                piece = view[begin : begin + _PIECE_BYTES]
                self._map[at + begin : at + begin + len(piece)] = piece

    def seal(self) -> None:
        """Keep its size from now on, whoever has its descriptor."""
        if not self.sealed:
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
            self.sealed = True

    def map(self) -> None:
        """Write by a mapping from now on; it is worth that once it is written again."""
        if self._map is None:
            # All pages are there: one call puts them into the page table, not one fault for each.
            self._map = mmap.mmap(self.fd, self.size, mmap.MAP_SHARED | mmap.MAP_POPULATE)

    def close(self) -> None:
        """Let go of it; the memory stays for as long as a process has it mapped."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()  # an interrupt came before it was closed


def _copy_by_threads(view: memoryview, to: mmap.mmap, at: int) -> bool:
    """Copy to a mapping by several threads; False where the view's address cannot be learnt."""
    import ctypes

    _functions()
    given = view.obj
    if not view.readonly:
        source = ctypes.addressof(ctypes.c_ubyte.from_buffer(view))
    elif type(given) is bytes and len(given) == len(view):
        source = _python.PyBytes_AsString(given)
    else:
        return False
    size = len(view)
    if at + size > len(to):
        raise ValueError("a value is longer than its memory file")
    place = ctypes.c_ubyte.from_buffer(to, at)  # the mapping cannot be closed meanwhile
    target, begins, move = (
        ctypes.addressof(place),
        iter(range(0, size, _TURN_BYTES)),
        ctypes.memmove,
    )

    def copy() -> None:
        for begin in begins:  # the next piece is whose thread comes first
            move(target + begin, source + begin, min(_TURN_BYTES, size - begin))

    try:
        _on_threads(copy, _COPIERS)
    finally:
        del place
    return True


def _on_threads(work: Callable[[], None], count: int) -> None:
    """Do it on this thread and on others; all have ended when this returns or raises."""
    import threading

    others = [threading.Thread(target=work, daemon=True) for _ in range(count - 1)]
    started = []
    try:
        for other in others:
            other.start()
            started.append(other)
    except RuntimeError:
        pass  # there may be no more threads: those that are here do it all
    interrupt: BaseException | None = None
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - raised below: others still write
        interrupt = error
    for other in started:
        while other.is_alive():
            try:
                other.join()
            except BaseException as error:  # noqa: BLE001 - the same
                interrupt = error
    if interrupt is not None:
        raise interrupt


def _write(fd: int, view: memoryview, at: int) -> None:
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


# ---- reading -----------------------------------------------------------------------------------

_PROT_READ_WRITE, _MAP_PRIVATE, _MADV_HUGEPAGE = 3, 2, 14
_libc: Any = None
_python: Any = None

#: Forks of this process that have begun, or ended; and those that go on.
_forks = _forking = 0


def map_private(fd: int, size: int, gone: Callable[[], object] | None = None) -> memoryview:
    """The first ``size`` bytes of a memfd, until the view and all views of it are gone.

    Mapped by hand, since the mmap module keeps a descriptor open for each mapping: a program that
    keeps a thousand results would run out of them. ``gone`` is called, on any thread, when nothing
    can see the memory any more, and never where a forked child may.

    Raises OSError, MemoryNotWholeError.
    """
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _NEEDED_SEALS != _NEEDED_SEALS:
        raise MemoryNotWholeError("shared memory is not sealed")
    if not 0 < size <= os.fstat(fd).st_size:
        raise MemoryNotWholeError("shared memory is not whole")
    import ctypes
    import weakref

    libc = _functions()
    forks = _forks
    address = libc.mmap(None, size, _PROT_READ_WRITE, _MAP_PRIVATE, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(memory, _unmap, libc.munmap, address, size, forks, gone).atexit = False
    return memoryview(memory).cast("B")


def _unmap(
    munmap: Callable[..., int],
    address: int,
    size: int,
    forks: int,
    gone: Callable[[], object] | None,
) -> None:
    munmap(address, size)
    # A child that was forked meanwhile has this mapping too, and what it has not written to there
    # is still the file's.
    if gone is not None and forks == _forks and not _forking:
        gone()


def copy_bytes(view: memoryview) -> bytes:
    """``bytes(view)`` of what ``map_private`` gave, quicker where it is large."""
    if len(view) < _HUGE_FROM:
        return bytes(view)
    import ctypes

    libc = _functions()
    made: bytes = _python.PyBytes_FromStringAndSize(None, len(view))
    to = _python.PyBytes_AsString(made)
    page = mmap.PAGESIZE
    begin = -(-to // page) * page
    # Advice: where it is not taken, the pages are small ones.
    libc.madvise(begin, (to + len(view) - begin) // page * page, _MADV_HUGEPAGE)
    ctypes.memmove(to, ctypes.addressof(ctypes.c_ubyte.from_buffer(view)), len(view))
    return made


def _functions() -> Any:
    global _libc, _python
    if _libc is None:
        import ctypes

        # Handles of our own: what others say of these functions' types is theirs.
        _python = ctypes.PyDLL(None)
        libc = ctypes.CDLL(None, use_errno=True)
        place, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        libc.mmap.restype = place
        libc.mmap.argtypes = [place, size, number, number, number, ctypes.c_long]
        libc.munmap.argtypes = [place, size]
        libc.madvise.argtypes = [place, size, number]
        make, where = _python.PyBytes_FromStringAndSize, _python.PyBytes_AsString
        make.restype, make.argtypes = ctypes.py_object, [place, ctypes.c_ssize_t]
        where.restype, where.argtypes = place, [ctypes.py_object]
        _libc = libc
    return _libc


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
