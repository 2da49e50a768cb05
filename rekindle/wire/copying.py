"""Copies of much memory, by several threads and with the interpreter let go.

One thread alone does not use all that the memory gives. Standard library only, and ctypes not
before it is needed: runners import this. Knows nothing of files' lives, nor of what is copied.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: From here on several threads are worth their starting.
LARGE_BYTES = 32 << 20
#: More threads than this find no more memory to use.
_MOST_THREADS = 4
#: Each thread takes the next piece of this size: none waits long for the slowest. In pieces of 1 MB
#: two threads took a fifth longer.
_PIECE_BYTES = 4 << 20
#: From here on bytes are worth huge pages, as NumPy has it: a hundred megabytes of small ones take
#: twice as long to make as to copy.
_HUGE_FROM_BYTES = 4 << 20
_MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 14, 23
#: How often it is looked whether other threads have ended.
_LOOK_S = 0.0001


def threads() -> int:
    """How many copy side by side here: 1 where this process has one processor."""
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)))


def copy(parts: Iterable[tuple[Any, int]], to: int, *, new: bool = False) -> None:
    """Copy each part, contiguous memory, to as many bytes behind the address ``to`` as is said.

    Who calls this sees to it that so much is mapped there. ``new``: no page of a file that is
    mapped there may be there yet. Raises OSError where the machine has no memory for them.
    """
    c = _c()
    move, page = c.ctypes.memmove, c.page_bytes

    def fill(place: int, source: int, size: int) -> None:
        begin = place // page * page
        # Without that a page that cannot be had would be SIGBUS, which ends the process.
        if c.madvise(begin, place + size - begin, _MADV_POPULATE_WRITE) != 0:
            number = c.ctypes.get_errno()
            if number != errno.EINVAL:  # a kernel before 5.14 knows no such call
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        move(place, source, size)

    with contextlib.ExitStack() as held:
        pieces = []
        for data, at in parts:
            begin = held.enter_context(_address(data))
            pieces += [
                (to + at + done, begin + done, size) for done, size in _cut(memoryview(data).nbytes)
            ]
        _each(pieces, fill if new else move)


def read_bytes(fd: int, at: int, size: int) -> bytes:
    """``size`` bytes of a file in memory, from ``at`` on. Raises OSError, EOFError."""
    if size < _HUGE_FROM_BYTES:
        data = os.pread(fd, size, at)
        if len(data) < size:
            raise EOFError(f"memory ends {size - len(data)} bytes too soon")
        return data
    c = _c()
    made: bytes = c.make_bytes(None, size)
    to = c.bytes_address(made)
    begin = -(-to // c.page_bytes) * c.page_bytes
    # Advice: where it is not taken, the pages are small ones.
    c.madvise(begin, (to + size - begin) // c.page_bytes * c.page_bytes, _MADV_HUGEPAGE)

    def read(done: int, length: int) -> None:
        got = c.pread(fd, to + done, length, at + done)
        if got < 0:
            number = c.ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        if got < length:
            raise EOFError(f"memory ends {length - got} bytes too soon")

    _each(list(_cut(size)), read)
    return made


def _cut(size: int) -> Iterator[tuple[int, int]]:
    """Where each piece begins, and its size."""
    for begin in range(0, size, _PIECE_BYTES):
        yield begin, min(_PIECE_BYTES, size - begin)


def _each(pieces: list[Any], work: Callable[..., object]) -> None:
    """Do it with each piece, its last item being its size; where it is much, on several threads.

    All have ended when this returns or raises, whatever interrupts it: what they write to may be
    gone after that. Not by ``join``, which holds a thread for ended once it was interrupted.
    """
    left = iter(pieces)
    errors: list[BaseException] = []
    working: set[int] = set()  # threads beside this one
    over: list[bool] = []

    def go() -> None:
        for piece in left:  # the next one is whose thread comes first
            work(*piece)

    def go_beside(number: int) -> None:
        working.add(number)
        try:
            if not over:  # it may have begun late
                go()
        except BaseException as error:  # noqa: BLE001 - raised below, on the caller's thread
            errors.append(error)
        finally:
            working.discard(number)

    count = threads() if sum(piece[-1] for piece in pieces) >= LARGE_BYTES else 1
    try:
        try:
            for number in range(1, count):
                threading.Thread(target=go_beside, args=(number,), daemon=True).start()
        except RuntimeError:
            pass  # there may be no more threads: those that are here do it all
        go()
    except BaseException as error:  # noqa: BLE001 - raised below: others may still write
        errors.append(error)
    while not over or working:
        try:
            over.append(True)
            while True:
                if not working:
                    break
                time.sleep(_LOOK_S)  # for no longer than one piece takes
        except BaseException as error:  # noqa: BLE001 - the same
            errors.append(error)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def _address(data: Any) -> Iterator[int]:
    """Where contiguous memory lies; it stays there meanwhile."""
    c = _c()
    view = c.Buffer()
    c.get_buffer(data, c.ctypes.byref(view), 0)
    try:
        yield view.buf or 0
    finally:
        c.release_buffer(c.ctypes.byref(view))


@cache
def _c() -> SimpleNamespace:
    """What is called of Python's C API and of libc, by handles of our own: what others say of these
    functions' types is theirs."""
    import ctypes
    import mmap

    class Buffer(ctypes.Structure):
        """``Py_buffer``, of which only ``buf`` is read: the rest is room for it (80 bytes)."""

        _fields_ = (("buf", ctypes.c_void_p), ("rest", ctypes.c_void_p * 9))

    python, libc = ctypes.PyDLL(None), ctypes.CDLL(None, use_errno=True)
    place, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    make_bytes, bytes_address = python.PyBytes_FromStringAndSize, python.PyBytes_AsString
    make_bytes.restype, make_bytes.argtypes = ctypes.py_object, [place, ctypes.c_ssize_t]
    bytes_address.restype, bytes_address.argtypes = place, [ctypes.py_object]
    python.PyObject_GetBuffer.argtypes = [ctypes.py_object, place, number]
    python.PyBuffer_Release.argtypes, python.PyBuffer_Release.restype = [place], None
    libc.madvise.argtypes = [place, size, number]
    libc.pread.argtypes = [number, place, size, ctypes.c_int64]
    libc.pread.restype = ctypes.c_ssize_t
    return SimpleNamespace(
        ctypes=ctypes,
        page_bytes=mmap.PAGESIZE,
        Buffer=Buffer,
        make_bytes=make_bytes,
        bytes_address=bytes_address,
        get_buffer=python.PyObject_GetBuffer,
        release_buffer=python.PyBuffer_Release,
        madvise=libc.madvise,
        pread=libc.pread,
    )
