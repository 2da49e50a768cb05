"""Values between two processes of one machine: small ones as bytes, large ones in shared memory.

A large value is pickled into a memfd, its buffers (pickle protocol 5) out of band beside it: one
write. The receiver maps it privately and unpickles on top of the mapping: no further copy, arrays
can be written to, and the memory is free again when the last of them dies. Standard library and,
when something is pickled, cloudpickle: runners import this. Knows nothing of calls and sockets.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rekindle.wire.serialization import NotPlainError, PlainPickler

if TYPE_CHECKING:
    from collections.abc import Callable

#: A value whose pickle is larger than this goes through a memfd: below it, two copies through a
#: socket are quicker than making, sealing and mapping one.
INLINE_BYTES = 192 * 1024
#: A buffer smaller than this stays inside the pickle.
_BUFFER_BYTES = INLINE_BYTES
_ALIGN = 64
#: At the end of a memfd: the pickle's size, the number of buffers.
_TRAILER = struct.Struct("=QQ")
#: Before it, for each buffer: where it begins, its size.
_ENTRY = struct.Struct("=QQ")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_PROTOCOL = 5
#: Pickled most often: no arguments, and no value.
_NO_ARGUMENTS = pickle.dumps(((), {}), protocol=_PROTOCOL)
_NONE = pickle.dumps(None, protocol=_PROTOCOL)


class TooLargeError(Exception):
    """A value is larger than allowed; pickling stopped there."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} bytes, more than {limit}")
        self.size = size
        self.limit = limit


@dataclass(slots=True)
class Packed:
    """A pickled value: ``data``, or the descriptor of a memfd that has it."""

    data: bytes
    fd: int = -1

    def close(self) -> None:
        """Close the descriptor; a receiver has its own."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def pack(value: Any, limit: int = sys.maxsize) -> Packed:
    """Pickle a value. Raises TooLargeError, OSError, and whatever pickling it raises."""
    if value is None:
        return Packed(_NONE)
    sink = _Sink(limit)
    try:
        PlainPickler(sink, _PROTOCOL).dump(value)
        return sink.finish()
    except NotPlainError:
        sink.close()
    except BaseException:
        sink.close()
        raise
    import cloudpickle

    sink = _Sink(limit)
    try:
        cloudpickle.Pickler(sink, _PROTOCOL, buffer_callback=sink.buffer).dump(value)
        return sink.finish()
    except BaseException:
        sink.close()
        raise


def pack_input(args: tuple[Any, ...], kwargs: dict[str, Any], limit: int = sys.maxsize) -> Packed:
    """The same for ``(args, kwargs)``."""
    if not args and not kwargs:
        return Packed(_NO_ARGUMENTS)
    return pack((args, kwargs), limit)


def unpack(data: bytes | memoryview, fd: int = -1) -> Any:
    """The value of what ``pack`` made; closes ``fd``. Raises OSError or what unpickling raises."""
    if fd < 0:
        return pickle.loads(data)
    try:
        view = _map(fd)
    finally:
        os.close(fd)
    end = len(view) - _TRAILER.size
    size, count = _TRAILER.unpack_from(view, end)
    table = end - count * _ENTRY.size
    if table < size:
        raise pickle.UnpicklingError("a shared value is not whole")
    buffers = []
    for number in range(count):
        begin, length = _ENTRY.unpack_from(view, table + number * _ENTRY.size)
        if begin + length > table:
            raise pickle.UnpicklingError("a shared value is not whole")
        buffers.append(view[begin : begin + length])
    return pickle.loads(view[:size], buffers=buffers)


class _Sink:
    """Where a pickler writes: memory at first, a memfd once it is much."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0  # of the pickle so far
        self._buffers: list[memoryview] = []
        self._buffered = 0
        self._fd = -1

    def write(self, data: bytes | memoryview) -> int:
        size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
        if self._size + self._buffered + size > self._limit:
            raise TooLargeError(self._size + self._buffered + size, self._limit)
        if self._fd < 0 and self._size + size <= INLINE_BYTES:
            self._pieces.append(bytes(data))
        else:
            if self._fd < 0:
                self._open()
            _write(self._fd, data, self._size)
        self._size += size
        return size

    def buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer stays inside the pickle; otherwise it is taken here."""
        view = buffer.raw()
        if view.nbytes < _BUFFER_BYTES:
            return True
        self._buffered += view.nbytes
        if self._size + self._buffered > self._limit:
            raise TooLargeError(self._size + self._buffered, self._limit)
        self._buffers.append(view)
        return False

    def finish(self) -> Packed:
        if self._fd < 0:
            if not self._buffers:
                pieces = self._pieces
                return Packed(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            self._open()
        at = self._size
        table = bytearray()
        for view in self._buffers:
            at = -(-at // _ALIGN) * _ALIGN
            _write(self._fd, view, at)
            table += _ENTRY.pack(at, view.nbytes)
            at += view.nbytes
        table += _TRAILER.pack(self._size, len(self._buffers))
        _write(self._fd, table, at)
        # From here on nobody can change it, so that the receiver may trust what it maps.
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
        fd, self._fd = self._fd, -1
        return Packed(b"", fd)

    def _open(self) -> None:
        self._fd = os.memfd_create("rekindle-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        _write(self._fd, b"".join(self._pieces), 0)
        self._pieces.clear()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write(fd: int, data: bytes | bytearray | memoryview, at: int) -> None:
    view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


# ---- mapping -----------------------------------------------------------------------------------

_PROT_READ_WRITE, _MAP_PRIVATE = 3, 2
_libc: Any = None


def _map(fd: int) -> memoryview:
    """The whole memfd, mapped privately until the view and all views of it are gone.

    By hand, since the mmap module keeps a descriptor open for each mapping: a program that keeps
    a thousand results would run out of them.
    """
    size = os.fstat(fd).st_size
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS or size < _TRAILER.size:
        raise pickle.UnpicklingError("a shared value is not sealed")
    import ctypes
    import weakref

    libc = _mapping_functions()
    address = libc.mmap(None, size, _PROT_READ_WRITE, _MAP_PRIVATE, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory = (ctypes.c_ubyte * size).from_address(address)
    unmap: Callable[..., int] = libc.munmap
    weakref.finalize(memory, unmap, address, size).atexit = False
    return memoryview(memory).cast("B")


def _mapping_functions() -> Any:
    global _libc
    if _libc is None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
        ]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        _libc = libc
    return _libc
