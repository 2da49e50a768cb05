"""Copies of much memory: whole, by however many threads there may be."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rekindle.wire import copying
from rekindle.wire.copying import LARGE_BYTES, copy, read_bytes
from rekindle.wire.memory_maps import map_file, unmap

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


_INTERRUPTED = """
import os, signal, sys
from rekindle.wire import copying
from rekindle.wire.memory import MemoryFile

copying.threads = lambda: 4
data = memoryview(bytearray(48 << 20))
interrupts = 0

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
for turn in range(60):
    file = MemoryFile()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 * (1 + turn % 40))
        file.finish([(data, 0)])
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupts += 1
    file.close()  # what a thread still wrote to would end the process
print(interrupts)
"""


def test_who_is_interrupted_while_threads_copy_waits_for_them() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 10


def test_memory_that_cannot_be_had_is_an_error_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    fd = os.memfd_create("short")
    os.ftruncate(fd, mmap.PAGESIZE)
    at = map_file(fd, LARGE_BYTES, mmap.MAP_SHARED)  # but for one page there is none
    with pytest.raises(OSError, match="Cannot allocate memory"):
        copy([(bytes(LARGE_BYTES), 0)], at, new=True)
    unmap(at, LARGE_BYTES)
    os.close(fd)
