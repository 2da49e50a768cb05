"""The copy engine: bytes from memory or files to a device, staged, by several threads and queues.

An arena is one allocation on the device; pieces say what goes where in it. They are cut into chunks
of neighbouring bytes, however many pieces a chunk holds, so that each copy to the device is large.
Each thread has a queue and two pieces of pinned memory: it fills one, from the page cache or from
disk, while the other is on its way. Knows nothing of tensors.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rekindle.exception import GpuError
from rekindle.gpu_restore.device import Device, Queue
from rekindle.linux import memory

#: Two for each thread. Small ones stay in the processor's cache until they are sent.
CHUNK_BYTES = 4 << 20
MAX_THREADS = 8
_STAGES = 2


@dataclass(frozen=True)
class Memory:
    """Bytes of this process, from an address on. Whoever makes the piece keeps them alive."""

    address: int


@dataclass(frozen=True)
class FileRange:
    """Bytes of an open file, from an offset on."""

    fd: int
    offset: int


@dataclass(frozen=True)
class Piece:
    """``size`` bytes of a source, and their offset in the arena."""

    target: int
    size: int
    source: Memory | FileRange


@dataclass(frozen=True)
class Arena:
    """An allocation on the device, and what is to be in it."""

    address: int
    size: int
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Chunk:
    """Neighbouring bytes of an arena that travel in one copy."""

    target: int  # address on the device
    size: int
    #: Offset in the chunk, bytes, source.
    parts: tuple[tuple[int, int, Memory | FileRange], ...]


@dataclass(frozen=True)
class Transfer:
    """What a transfer was: bytes, and seconds of wall time."""

    size: int
    seconds: float
    threads: int
    chunks: int
    #: To get the pinned memory; zero where some was kept.
    staging_s: float = 0.0

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds if self.seconds else 0.0

    def in_words(self) -> str:
        """``1.00 GB to the device in 0.021 s: 47.6 GB/s``."""
        return (
            f"{self.size / 1e9:.2f} GB to the device in {self.seconds:.3f} s: "
            f"{self.rate / 1e9:.1f} GB/s"
        )


def cut(arena: Arena, chunk_bytes: int) -> Iterator[Chunk]:
    """The chunks of an arena, in the order of its bytes.

    Raises GpuError for pieces that overlap or lie outside. Bytes between pieces are zero, where a
    chunk holds some.
    """
    parts: list[tuple[int, int, Memory | FileRange]] = []
    start = end = 0
    for piece in sorted(arena.pieces, key=lambda one: one.target):
        if piece.size == 0:
            continue
        if piece.target < end or piece.target + piece.size > arena.size or piece.size < 0:
            raise GpuError(
                f"{piece.size} bytes at {piece.target} do not fit: {end} of {arena.size} are taken"
            )
        if piece.target - start >= chunk_bytes and parts:
            yield Chunk(arena.address + start, end - start, tuple(parts))
            parts = []
        if not parts:
            start = piece.target
        done = 0
        while done < piece.size:
            at = piece.target + done - start
            take = min(piece.size - done, chunk_bytes - at)
            parts.append((at, take, _further(piece.source, done)))
            done += take
            end = piece.target + done
            if end - start == chunk_bytes:
                yield Chunk(arena.address + start, end - start, tuple(parts))
                parts, start = [], end
    if parts:
        yield Chunk(arena.address + start, end - start, tuple(parts))


def _further(source: Memory | FileRange, by: int) -> Memory | FileRange:
    if isinstance(source, Memory):
        return Memory(source.address + by)
    return FileRange(source.fd, source.offset + by)


def threads_here() -> int:
    """As many as there are cores to fill pinned memory with, within bounds."""
    return max(1, min(MAX_THREADS, len(os.sched_getaffinity(0))))


def transfer(
    device: Device,
    arenas: Iterable[Arena],
    *,
    threads: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Transfer:
    """Copy everything; returns when it is on the device.

    Raises GpuError (a source that is too short, a device that fails) or OSError (a file that cannot
    be read): no copy is under way any more then.
    """
    started = time.perf_counter()
    chunks = [chunk for arena in arenas for chunk in cut(arena, chunk_bytes)]
    size = sum(n for chunk in chunks for _at, n, _source in chunk.parts)
    count = max(1, min(threads or threads_here(), len(chunks)))
    work = _Work(iter(chunks))
    workers: list[threading.Thread] = []
    try:
        _start(workers, count - 1, (device, work, chunk_bytes))
        _copy(device, work, chunk_bytes)
        _join(workers)
    except BaseException as error:  # this thread was interrupted
        work.failed(error)
        _join(workers)
        raise
    if work.error is not None:
        raise work.error
    return Transfer(
        size,
        time.perf_counter() - started,
        len(workers) + 1,
        len(chunks),
        max(work.staging_s, default=0.0),
    )


def _start(
    workers: list[threading.Thread], count: int, arguments: tuple[Device, _Work, int]
) -> None:
    """As many as there may be: this thread alone would do it, too."""
    for n in range(1, count + 1):
        name = f"rekindle-copy-{n}"
        worker = threading.Thread(target=_copy, args=arguments, name=name, daemon=True)
        try:
            worker.start()
        except RuntimeError:
            return
        workers.append(worker)


def _join(workers: Iterable[threading.Thread]) -> None:
    for worker in workers:
        worker.join()


@dataclass
class _Work:
    """What the threads share."""

    chunks: Iterator[Chunk]
    error: BaseException | None = None
    staging_s: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> Chunk | None:
        """One that no other thread has; None: no more, or one of them failed."""
        with self._lock:
            return None if self.error is not None else next(self.chunks, None)

    def failed(self, error: BaseException) -> None:
        """The first one counts."""
        with self._lock:
            self.error = self.error or error


def _copy(device: Device, work: _Work, chunk_bytes: int) -> None:
    """One thread's part."""
    try:
        device.bind()
        began = time.perf_counter()
        stages: list[int] = []
        queue: Queue | None = None
        try:
            stages.extend(device.staging(chunk_bytes) for _ in range(_STAGES))
            queue = device.queue()
            work.staging_s.append(time.perf_counter() - began)
            _copy_chunks(work, queue, stages)
        finally:
            if queue is not None:
                queue.close()  # before the pinned memory goes: it may still be on its way
            for stage in stages:
                device.keep_staging(stage, chunk_bytes)
    except BaseException as error:  # noqa: BLE001 - raised by whoever asked for the transfer
        work.failed(error)


def _copy_chunks(work: _Work, queue: Queue, stages: Sequence[int]) -> None:
    marks: list[int | None] = [None] * len(stages)
    turn = 0
    while (chunk := work.next()) is not None:
        mark = marks[turn]
        if mark is not None:
            marks[turn] = None
            queue.wait(mark)
        _fill(stages[turn], chunk)
        queue.copy_in(chunk.target, stages[turn], chunk.size)
        marks[turn] = queue.mark()
        turn = (turn + 1) % len(stages)
    for mark in marks:
        if mark is not None:
            queue.wait(mark)


def _fill(stage: int, chunk: Chunk) -> None:
    filled = 0
    for at, size, source in chunk.parts:
        if at > filled:
            ctypes.memset(stage + filled, 0, at - filled)
        if isinstance(source, Memory):
            memory.populate_for_reading(source.address, size)
            ctypes.memmove(stage + at, source.address, size)
        else:
            _read(source, stage + at, size)
        filled = at + size


def _read(source: FileRange, address: int, size: int) -> None:
    view = memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")
    done = 0
    while done < size:
        got = os.preadv(source.fd, [view[done:]], source.offset + done)
        if got == 0:
            raise GpuError(
                f"{_name(source.fd)} ends {size - done} bytes too early, at {source.offset + done}"
            )
        done += got


def _name(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"file descriptor {fd}"
