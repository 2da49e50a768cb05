"""Memory files: written again in place, never cut short, and gone when nobody can see them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rekindle.wire.memory import MemoryFile, map_private
from tests import descriptors

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
    file.reuse()
    file.write(b"xy", 2)
    assert os.pread(file.fd, 10, 0) == b"abxyef"
    with pytest.raises(PermissionError):
        os.ftruncate(file.fd, 3)
    file.close()


@pytest.mark.parametrize("mapped", [False, True])
def test_large_pieces_are_written_whole(mapped: bool) -> None:
    file = filled(b"\0")
    if mapped:
        file.reuse()
    data = os.urandom(SIZE - 77)
    file.write(data, 77)
    assert os.pread(file.fd, SIZE, 77) == data
    file.close()


@pytest.mark.parametrize("again", [False, True])
def test_many_parts_are_written_where_they_belong_and_the_file_can_be_closed(again: bool) -> None:
    parts = [os.urandom(size) for size in (17 << 20, 3, 16 << 20, 100_000)]
    places, end = [], 77
    for part in parts:
        places.append((memoryview(part), end))
        end += len(part) + 10
    file = filled(b"\0", end) if again else MemoryFile()
    if again:
        file.reuse()
    file.finish(places)
    assert os.pread(file.fd, end, 0) == bytes(77) + bytes(10).join(parts) + bytes(10 * again)
    file.seal()
    with pytest.raises(ValueError, match="longer than its memory file"):
        file.finish([(memoryview(parts[0]), end - 100)])
    file.close()


def test_what_is_written_again_and_again_is_whole_for_its_readers() -> None:
    size = (5 << 20) + 123
    file = filled(b"a", size)
    reader = map_private(file.fd, size)
    reader[7] = 0  # a page of its own
    for turn in range(3):
        file.reuse()
        data = os.urandom(size)
        file.write(data, 0)
        assert bytes(map_private(file.fd, size)) == data, turn
        assert bytes(reader[4096:]) == data[4096:] and reader[7] == 0
    file.close()


def test_a_file_that_nobody_closed_closes_itself() -> None:
    before = descriptors.opened()
    filled(b"x").reuse()
    assert not descriptors.newly_open(before, patience_s=0.0)


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
