"""Memory files: written again in place, never cut short, and gone when nobody can see them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rekindle.wire.memory import MemoryFile, copy_bytes, map_private

SIZE = 20 << 20


def filled(byte: bytes, size: int = SIZE) -> MemoryFile:
    file = MemoryFile()
    file.write(byte * size, 0)
    file.seal()
    return file


def test_it_grows_until_it_is_sealed_and_is_written_in_place_then() -> None:
    file = MemoryFile()
    file.write(b"abc", 0)
    file.write(b"def", 3)
    assert file.size == 6 and file.takes(1000)
    file.seal()
    assert file.takes(6) and not file.takes(7)
    file.map()
    file.write(b"xy", 2)
    assert os.pread(file.fd, 10, 0) == b"abxyef"
    with pytest.raises(PermissionError):
        os.ftruncate(file.fd, 3)
    file.close()


@pytest.mark.parametrize("mapped", [False, True])
def test_large_pieces_are_written_whole(mapped: bool) -> None:
    file = filled(b"\0")
    if mapped:
        file.map()
    data = os.urandom(SIZE - 77)
    file.write(data, 77)
    assert os.pread(file.fd, SIZE, 77) == data
    file.close()


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda data: memoryview(b"-" + data)[1:]])
def test_what_is_copied_whole_lies_where_it_belongs_and_the_file_can_be_closed(kind: Any) -> None:
    data = os.urandom(33 << 20)
    file = filled(b"\0", len(data) + 100)
    file.map()
    file.write(kind(data), 77)
    assert os.pread(file.fd, len(data) + 100, 0) == bytes(77) + data + bytes(23)
    with pytest.raises(ValueError, match="longer than its memory file"):
        file.write(bytes(data), 101)
    file.close()


def test_a_file_that_nobody_closed_closes_itself() -> None:
    before = os.listdir("/proc/self/fd")
    filled(b"x").map()
    assert os.listdir("/proc/self/fd") == before


def test_a_reader_writes_for_itself_and_tells_when_nothing_sees_it() -> None:
    file, gone = filled(b"a"), threading.Event()
    view = map_private(file.fd, SIZE, gone.set)
    part = view[10:20]
    part[0] = 0
    assert os.pread(file.fd, 1, 10) == b"a"
    del view
    assert not gone.is_set() and part[1] == ord("a")
    del part
    assert gone.is_set()
    assert "rekindle-value" not in Path("/proc/self/maps").read_text()
    file.close()


def test_what_a_forked_child_sees_is_never_told_to_be_gone() -> None:
    file, told = filled(b"a"), []
    view = map_private(file.fd, SIZE, lambda: told.append("seen by a child"))
    asked, answer = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(asked[0], 1)
        os.write(answer[1], bytes(view[:3]))
        os._exit(0)
    del view
    os.write(asked[1], b".")
    assert os.read(answer[0], 3) == b"aaa"
    os.waitpid(pid, 0)
    assert not told
    later = map_private(file.fd, SIZE, lambda: told.append("came after the fork"))
    del later
    assert told == ["came after the fork"]
    for fd in (*asked, *answer):
        os.close(fd)
    file.close()


@pytest.mark.parametrize("size", [1, 1 << 20, 4 << 20, (4 << 20) + 1, SIZE])
def test_bytes_are_copied_whole(size: int) -> None:
    file, data = MemoryFile(), os.urandom(size)
    file.write(data, 0)
    file.seal()
    view = map_private(file.fd, size)
    assert copy_bytes(view) == data
    assert copy_bytes(view[size // 2 :]) == data[size // 2 :]
    file.close()
