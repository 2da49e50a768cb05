"""The copy engine: everything arrives, once, from memory and files; errors end it in good order."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore.copying import Arena, Chunk, FileRange, Memory, Piece, cut, transfer
from rekindle.gpu_restore.cuda import Driver
from rekindle.gpu_restore.device import CudaDevice, Device
from rekindle.gpu_restore.host_device import HostDevice
from tests.gpu_restore.fake_cuda import FakeCuda


def _cuda() -> Device:
    return CudaDevice(Driver(FakeCuda()))


DEVICES: dict[str, Callable[[], Device]] = {"host": HostDevice, "cuda": _cuda}


def _source(data: bytearray) -> tuple[Memory, Any]:
    area = (ctypes.c_ubyte * len(data)).from_buffer(data)
    return Memory(ctypes.addressof(area)), area


def _content(device: Device, address: int, size: int) -> bytes:
    buffer = bytearray(size)
    device.read(address, buffer)
    return bytes(buffer)


@pytest.mark.parametrize("kind", DEVICES)
@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=20),
    gaps=st.lists(st.integers(0, 700), min_size=20, max_size=20),
    chunk=st.sampled_from([64, 1000, 4096, 1 << 20]),
    threads=st.integers(1, 4),
)
def test_pieces_arrive_whole_and_what_lies_between_is_left_alone_or_zero(
    kind: str, sizes: list[int], gaps: list[int], chunk: int, threads: int
) -> None:
    data = bytearray(os.urandom(sum(sizes)))
    memory, _keep = _source(data)
    pieces, expected, at, taken = [], bytearray(), 0, 0
    for size, gap in zip(sizes, gaps, strict=False):
        at += gap
        expected += bytes(gap) + data[taken : taken + size]
        pieces.append(Piece(at, size, Memory(memory.address + taken)))
        at, taken = at + size, taken + size
    device = DEVICES[kind]()
    address = device.allocate(len(expected) or 1)
    done = transfer(
        device,
        [Arena(address, len(expected), pieces[::-1])],
        threads=threads,
        chunk_bytes=chunk,
    )
    assert _content(device, address, len(expected)) == bytes(expected)
    assert done.size == sum(sizes)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=20),
    chunk=st.sampled_from([64, 1000, 4096]),
)
def test_chunks_are_full_neighbours_in_order(sizes: list[int], chunk: int) -> None:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(Piece(at, size, FileRange(0, at)))
        at += size
    chunks: list[Chunk] = list(cut(Arena(1000, at, pieces), chunk))
    assert [one.size for one in chunks[:-1]] == [chunk] * (len(chunks) - 1)
    end = 1000
    for one in chunks:
        assert one.target == end
        end += one.size
    assert end == 1000 + at


def test_a_file_is_read_straight_into_pinned_memory(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "weights").write_bytes(b"head" + data)
    device = _cuda()
    address = device.allocate(len(data))
    with open(tmp_path / "weights", "rb") as file:
        piece = Piece(0, len(data), FileRange(file.fileno(), 4))
        transfer(device, [Arena(address, len(data), [piece])], threads=3, chunk_bytes=8192)
    assert _content(device, address, len(data)) == data


def test_a_file_that_is_too_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(100))
    device = HostDevice()
    with open(tmp_path / "short", "rb") as file:
        piece = Piece(0, 200, FileRange(file.fileno(), 50))
        with pytest.raises(GpuError, match=r"short ends 150 bytes too early, at 100"):
            transfer(device, [Arena(device.allocate(200), 200, [piece])])


@pytest.mark.parametrize(
    "pieces",
    [
        [Piece(0, 10, Memory(0)), Piece(9, 10, Memory(0))],
        [Piece(95, 10, Memory(0))],
        [Piece(-1, 10, Memory(0))],
        [Piece(0, -5, Memory(0))],
    ],
)
def test_pieces_that_overlap_or_lie_outside_are_refused(pieces: list[Piece]) -> None:
    with pytest.raises(GpuError, match="do not fit"):
        list(cut(Arena(0, 100, pieces), 16))


def test_a_device_that_fails_ends_all_threads_and_keeps_no_copy_under_way() -> None:
    library = FakeCuda()
    device = CudaDevice(Driver(library))
    data = bytearray(os.urandom(1 << 20))
    memory, _keep = _source(data)
    address = device.allocate(len(data))
    library.fail["cuEventRecord"] = 999
    others = set(threading.enumerate())
    with pytest.raises(CudaError, match="cuEventRecord failed"):
        transfer(
            device,
            [Arena(address, len(data), [Piece(0, len(data), memory)])],
            threads=4,
            chunk_bytes=4096,
        )
    assert set(threading.enumerate()) <= others
    assert not library.streams and not library.events


def test_where_no_more_threads_are_to_be_had_fewer_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    begun: list[threading.Thread] = []

    def second_fails(thread: threading.Thread) -> None:
        if begun:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    data = bytearray(os.urandom(100_000))
    memory, _keep = _source(data)
    device = _cuda()
    address = device.allocate(len(data))
    arena = Arena(address, len(data), [Piece(0, len(data), memory)])
    done = transfer(device, [arena], threads=4, chunk_bytes=4096)
    assert done.threads == 2
    assert _content(device, address, len(data)) == data


def test_an_interrupted_transfer_leaves_no_copy_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    join = threading.Thread.join
    joined: list[threading.Thread] = []

    def first_is_interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        joined.append(thread)
        if len(joined) == 1:
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", first_is_interrupted)
    data = bytearray(1 << 20)
    memory, _keep = _source(data)
    device = _cuda()
    arena = Arena(device.allocate(len(data)), len(data), [Piece(0, len(data), memory)])
    with pytest.raises(KeyboardInterrupt):
        transfer(device, [arena], threads=3, chunk_bytes=4096)
    assert len(joined) == 3 and not any(thread.is_alive() for thread in joined)


def test_pinned_memory_is_kept_for_the_next_transfer() -> None:
    library = FakeCuda()
    device = CudaDevice(Driver(library))
    data = bytearray(50_000)
    memory, _keep = _source(data)
    arena = Arena(device.allocate(len(data)), len(data), [Piece(0, len(data), memory)])
    for _ in range(2):
        transfer(device, [arena], threads=1, chunk_bytes=4096)
    assert library.calls.count("cuMemHostAlloc") == 2
    device.drop_staging()
    assert not library.pinned


def test_nothing_to_copy_is_done_at_once() -> None:
    assert transfer(HostDevice(), []).size == 0
