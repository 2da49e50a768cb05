"""Mappings made by hand: where they lie, and that no part of them is left."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from pathlib import Path

import pytest

from rekindle.wire import memory_maps
from rekindle.wire.memory_maps import gather, map_file, unmap

HUGE = 2 << 20


def maps() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize("size", [1, 4096, HUGE - 1, HUGE, HUGE + 1, 3 * HUGE + 4097])
def test_large_ones_lie_where_huge_pages_can_and_nothing_is_left_around_them(size: int) -> None:
    fd, data = os.memfd_create("mapped"), os.urandom(size)
    os.pwrite(fd, data, 0)
    unmap(map_file(fd, size, mmap.MAP_PRIVATE), size)  # what the first one loads is there now
    before = maps()
    at = map_file(fd, size, mmap.MAP_SHARED)
    assert maps() == before + 1
    assert size < HUGE or at % HUGE == 0
    assert ctypes.string_at(at, size) == data
    gathered = 0
    while gathered < size:
        begun, gathered = gathered, gather(at, size, gathered)
        assert gathered > begun
    assert ctypes.string_at(at, size) == data
    unmap(at, size)
    assert maps() == before
    os.close(fd)


def test_pages_that_are_gathered_are_huge_ones_for_a_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_maps, "_GATHER_S", 10.0)  # also where one is to be made free
    size = 3 * HUGE + 100
    fd = os.memfd_create("gathered")
    os.pwrite(fd, bytes(size), 0)
    at = map_file(fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(at), HUGE, 25) and ctypes.get_errno() == errno.EINVAL:
        pytest.skip("this kernel gathers no pages of files (MADV_COLLAPSE)")
    assert gather(at, size) == size
    reader = map_file(fd, size, mmap.MAP_PRIVATE)
    assert ctypes.string_at(reader, size) == bytes(size)
    found = Path("/proc/self/smaps").read_text().partition(f"{reader:x}-")[2]
    (huge,) = [line for line in found.splitlines()[:30] if line.startswith("ShmemPmdMapped")][:1]
    assert huge.split()[1:] == ["6144", "kB"]
    for one in (at, reader):
        unmap(one, size)
    os.close(fd)


def test_what_cannot_be_mapped_is_an_error_and_leaves_nothing() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    before = maps()
    for size in (10, 2 * HUGE):
        with pytest.raises(OSError, match=r"Permission denied|No such device"):
            map_file(fd, size, mmap.MAP_SHARED)
    assert maps() == before
    os.close(fd)
