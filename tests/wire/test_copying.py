"""Copies of much memory: whole, by however many threads there may be."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rekindle.wire import copying
from rekindle.wire.copying import LARGE_BYTES, copy, read_bytes

MB = 1 << 20


@pytest.fixture(params=[1, 2, 4])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(copying, "threads", lambda: request.param)
    return int(request.param)


def read_only(data: bytes) -> Any:
    array = np.frombuffer(data, dtype=np.uint8)
    assert not array.flags.writeable
    return array


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, lambda data: memoryview(b"-" + data)[1:], read_only]
)
def test_what_is_copied_lies_where_it_belongs(count: int, kind: Callable[[bytes], Any]) -> None:
    first, second = os.urandom(LARGE_BYTES + 5), os.urandom(3)
    to = np.zeros(len(first) + 100, dtype=np.uint8)
    copy([(kind(first), 77), (kind(second), 10)], to.ctypes.data)
    assert to.tobytes() == bytes(10) + second + bytes(64) + first + bytes(23)


@pytest.mark.parametrize("size", [0, 1, 1 * MB, 4 * MB, 4 * MB + 1, 40 * MB])
def test_bytes_are_read_whole(count: int, size: int) -> None:
    data = os.urandom(size)
    fd = os.memfd_create("read")
    os.pwrite(fd, b"--" + data, 0)
    got = read_bytes(fd, 2, size)
    assert type(got) is bytes and got == data and hash(got) == hash(data)
    os.close(fd)


@pytest.mark.parametrize("size", [100, 5 * MB, 40 * MB])
def test_a_file_that_ends_too_soon_or_is_none_is_an_error(count: int, size: int) -> None:
    fd = os.memfd_create("short")
    os.ftruncate(fd, size - 1)
    with pytest.raises(EOFError, match="ends 1 bytes too soon"):
        read_bytes(fd, 0, size)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_bytes(fd, 0, size)


def test_all_is_copied_where_no_more_threads_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(copying, "threads", lambda: 4)
    monkeypatch.setattr(threading.Thread, "start", start)
    data, to = os.urandom(LARGE_BYTES), np.zeros(LARGE_BYTES, dtype=np.uint8)
    copy([(data, 0)], to.ctypes.data)
    assert to.tobytes() == data
