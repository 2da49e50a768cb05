"""Values between two processes of one machine: small ones as bytes, large ones in shared memory.

A large value is pickled into a memory file, its buffers (pickle protocol 5) out of band next to it:
one write. The receiver maps it privately and unpickles on top of the mapping: no further copy,
arrays can be written to, and the memory is free again when the last of them dies. Bytes have to own
their memory and are copied once more. Standard library and, when something is pickled, cloudpickle:
runners import this. Knows nothing of calls and sockets.
"""

from __future__ import annotations

import functools
import os
import pickle
import struct
import sys
from dataclasses import dataclass
from typing import Any

from rekindle.wire.copying import read_bytes
from rekindle.wire.memory import MemoryFile, map_private
from rekindle.wire.pickling import NotPlainError, PlainPickler, rich_pickler
from rekindle.wire.reuse import MemoryFiles, is_waste

#: A value whose pickle is larger than this goes through a memory file: below it, two copies through
#: a socket are quicker than making, sealing and mapping one.
INLINE_BYTES = 192 * 1024
#: A buffer smaller than this stays inside the pickle.
_BUFFER_BYTES = INLINE_BYTES
_ALIGN = 64
#: What travels for a value in a memory file: the file's number, the size of the pickle at its
#: beginning; and for each buffer: where it begins, its size, whether it becomes bytes.
_HEAD = struct.Struct("=QQ")
_ENTRY = struct.Struct("=QQ?")
_PROTOCOL = 5
#: Pickled most often: no arguments, and no value.
_NO_ARGUMENTS = pickle.dumps(((), {}), protocol=_PROTOCOL)
_NONE = pickle.dumps(None, protocol=_PROTOCOL)
#: And these: how they are pickled, no pickler of ours would change.
_SCALARS = frozenset({int, float, bool})
_TEXTS = frozenset({str, bytes})
_SHORT = 16 * 1024


class TooLargeError(Exception):
    """A value is larger than allowed; pickling stopped there."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} bytes, more than {limit}")
        self.size = size
        self.limit = limit


@dataclass(slots=True)
class Packed:
    """A pickled value: ``data``, or the description of how it lies in a memory file."""

    data: bytes
    file: MemoryFile | None = None
    _files: MemoryFiles | None = None

    @property
    def size(self) -> int:
        """What ``limit`` is for: all of the value, wherever it lies."""
        if self.file is None:
            return len(self.data)
        size, table = _described(self.data)
        return size + sum(length for _, length, _ in table)

    def again(self) -> Packed:
        """The same value once more, for any connection. Raises OSError."""
        if self.file is None:
            return Packed(self.data)
        _, size = _HEAD.unpack_from(self.data)
        # Numbers are of one connection: 0 is of none.
        return Packed(_HEAD.pack(0, size) + self.data[_HEAD.size :], self.file.again())

    def in_one(self) -> bytes:
        """One pickle of the value, for where no memory goes along; nothing is unpickled for it.

        Raises OSError.
        """
        if self.file is None:
            return self.data
        size, table = _described(self.data)
        fd = self.file.fd
        pickled = read_bytes(fd, 0, size)
        if not table:
            return pickled
        buffers = [
            part if is_bytes else bytearray(part)
            for part, is_bytes in ((read_bytes(fd, at, n), is_bytes) for at, n, is_bytes in table)
        ]
        loads = functools.partial(pickle.loads, pickled, buffers=buffers)
        return pickle.dumps(_Parts(loads), _PROTOCOL)

    def close(self) -> None:
        """Let go of the memory file once it was sent; a receiver has its own descriptor."""
        file, self.file = self.file, None
        if file is None:
            return
        if self._files is None:
            file.close()
        else:
            self._files.sent(file)


class _Parts:
    """Is unpickled as what ``loads`` gives."""

    def __init__(self, loads: functools.partial[Any]) -> None:
        self._loads = loads

    def __reduce__(self) -> tuple[Any, ...]:
        return self._loads, ()


def _described(data: bytes | memoryview) -> tuple[int, list[tuple[int, int, bool]]]:
    """The size of a pickle in a memory file, and of each buffer: begin, size, whether bytes."""
    _, size = _HEAD.unpack_from(data)
    return size, list(_ENTRY.iter_unpack(memoryview(data)[_HEAD.size :]))


def pack(value: Any, limit: int = sys.maxsize, files: MemoryFiles | None = None) -> Packed:
    """Pickle a value, into one of ``files`` where it is large.

    Raises TooLargeError, OSError, and whatever pickling it raises.
    """
    if value is None:
        return Packed(_NONE)
    kind = type(value)
    if kind in _SCALARS or (kind in _TEXTS and len(value) <= _SHORT):
        data = pickle.dumps(value, _PROTOCOL)  # a tenth of what the rest takes
        if len(data) <= limit:
            return Packed(data)
    whole: list[pickle.PickleBuffer] = []
    if kind is bytes:
        value = _beside(value, whole)
    return _pack(value, whole, limit, files)


def pack_input(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    limit: int = sys.maxsize,
    files: MemoryFiles | None = None,
) -> Packed:
    """The same for ``(args, kwargs)``."""
    if not args and not kwargs:
        return Packed(_NO_ARGUMENTS)
    whole: list[pickle.PickleBuffer] = []
    for value in (*args, *kwargs.values()):
        if type(value) is bytes and len(value) > _BUFFER_BYTES:
            args = tuple(_beside(each, whole) for each in args)
            kwargs = {name: _beside(each, whole) for name, each in kwargs.items()}
            break
    return _pack((args, kwargs), whole, limit, files)


def _beside(value: Any, whole: list[pickle.PickleBuffer]) -> Any:
    """What is pickled in place of ``value``: large bytes lie next to the pickle, as arrays do."""
    if type(value) is not bytes or len(value) <= _BUFFER_BYTES:
        return value
    buffer = pickle.PickleBuffer(value)
    whole.append(buffer)
    return buffer


def _pack(
    value: Any, whole: list[pickle.PickleBuffer], limit: int, files: MemoryFiles | None
) -> Packed:
    sink = _Sink(limit, whole, files)
    try:
        PlainPickler(sink, _PROTOCOL, buffer_callback=sink.whole).dump(value)
        return sink.finish()
    except NotPlainError:
        sink.close()
    except BaseException:
        sink.close()
        raise
    sink = _Sink(limit, whole, files)
    try:
        rich_pickler()(sink, _PROTOCOL, buffer_callback=sink.buffer).dump(value)
        return sink.finish()
    except BaseException:
        sink.close()
        raise


def unpack(data: bytes | memoryview, fd: int = -1, files: MemoryFiles | None = None) -> Any:
    """The value of what ``pack`` made; closes ``fd``. Raises OSError or what unpickling raises.

    ``files``: of the connection that it came by; they get to know once nothing here sees it.
    """
    if fd < 0:
        return pickle.loads(data)
    try:
        number, size = _HEAD.unpack_from(data)
        table = list(_ENTRY.iter_unpack(memoryview(data)[_HEAD.size :]))
        end = max(size, *(begin + length for begin, length, _ in table), 0)
        view = map_private(fd, end) if files is None else files.view(fd, number, end)
        buffers = [
            read_bytes(fd, begin, length) if is_bytes else view[begin : begin + length]
            for begin, length, is_bytes in table
        ]
    finally:
        os.close(fd)
    return pickle.loads(view[:size], buffers=buffers)


class _Sink:
    """Where a pickler writes: memory at first, a memory file once it is much."""

    def __init__(
        self, limit: int, whole: list[pickle.PickleBuffer], files: MemoryFiles | None
    ) -> None:
        self._limit = limit
        self._whole = {id(buffer) for buffer in whole}
        self._files = files
        self._pieces: list[bytes] = []
        self._size = 0  # of the pickle so far
        self._buffers: list[tuple[memoryview, bool]] = []
        self._buffered = 0
        self._file: MemoryFile | None = None

    # ---- for the pickler

    def write(self, data: bytes | memoryview) -> int:
        size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
        if self._size + self._buffered + size > self._limit:
            raise TooLargeError(self._size + self._buffered + size, self._limit)
        if self._file is None and self._size + size <= INLINE_BYTES:
            self._pieces.append(bytes(data))
        else:
            file = self._file
            if file is None or not file.takes(self._size + size):
                file = self._move(self._size + size, or_more=True)
            file.write(data, self._size)
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
        self._buffers.append((view, id(buffer) in self._whole))
        return False

    def whole(self, buffer: pickle.PickleBuffer) -> bool:
        """The same of those that are put next to it here; one of the user's stays inside."""
        return id(buffer) not in self._whole or self.buffer(buffer)

    # ---- for _pack

    def finish(self) -> Packed:
        if self._file is None and not self._buffers:
            pieces = self._pieces
            return Packed(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        end = self._size
        table = bytearray()
        places = []
        for view, is_bytes in self._buffers:
            begin = -(-end // _ALIGN) * _ALIGN
            places.append((view, begin))
            table += _ENTRY.pack(begin, view.nbytes, is_bytes)
            end = begin + view.nbytes
        file = self._file
        if file is None or not file.takes(end) or is_waste(file, end):
            file = self._move(end)
        file.finish(places)
        file.seal()
        self._file = None
        return Packed(_HEAD.pack(file.number, self._size) + table, file, self._files)

    def _move(self, size: int, *, or_more: bool = False) -> MemoryFile:
        """Go on in a file that takes ``size`` bytes, with what there is so far."""
        file = MemoryFile() if self._files is None else self._files.take(size, or_more=or_more)
        if self._file is None:
            file.write(b"".join(self._pieces), 0)
            self._pieces.clear()
        else:
            file.write(os.pread(self._file.fd, self._size, 0), 0)
            self.close()
        self._file = file
        return file

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None and self._files is not None:
            self._files.unused(file)
        elif file is not None:
            file.close()
