"""Mappings made by hand: what they show, and that nothing is left of them."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from rekindle.wire.memory_maps import map_file, unmap


def maps() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize("size", [1, 4096, (4 << 20) + 1])
def test_a_file_is_mapped_until_it_is_unmapped_without_a_descriptor(size: int) -> None:
    fd, data = os.memfd_create("mapped"), os.urandom(size)
    os.pwrite(fd, data, 0)
    unmap(map_file(fd, size, mmap.MAP_PRIVATE), size)  # what the first one loads is there now
    before = maps()
    at = map_file(fd, size, mmap.MAP_SHARED)
    os.close(fd)
    assert maps() == before + 1
    assert ctypes.string_at(at, size) == data
    unmap(at, size)
    assert maps() == before


def test_what_cannot_be_mapped_is_an_error_and_leaves_nothing() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    before = maps()
    for size in (10, 4 << 20):
        with pytest.raises(OSError, match=r"Permission denied|No such device"):
            map_file(fd, size, mmap.MAP_SHARED)
    assert maps() == before
    os.close(fd)
