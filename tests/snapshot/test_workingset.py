"""The working set of a mapped snapshot: recorded off page tables, read ahead in file order."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.snapshot import workingset
from rekindle.snapshot.workingset import JOIN_BYTES, PAGE_BYTES, WorkingSet

_PAGES = 4096

_TOUCH = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
area = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
for page in map(int, sys.argv[2].split(",")):
    area[page * mmap.PAGESIZE]
area[3000 * mmap.PAGESIZE] = 1  # a page that is copied was read, too
print("touched", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "pages-1.img").write_bytes(os.urandom(_PAGES * PAGE_BYTES))
    return tmp_path


def test_touched_and_written_pages_are_found_in_file_order(images: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _TOUCH, str(images / "pages-1.img"), "2000,5,6"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "touched\n"
        found = workingset.of_process(process.pid, images)
    finally:
        process.communicate()
    ranges = found.ranges["pages-1.img"]
    for page in (5, 6, 2000, 3000):
        at = page * PAGE_BYTES
        assert any(begin <= at < begin + length for begin, length in ranges), page
    assert ranges == sorted(ranges)
    # With neighbours that the kernel maps, up to a huge page of 2 MiB each; not the whole file.
    assert sum(length for _offset, length in ranges) < _PAGES * PAGE_BYTES / 2
    assert any(name.endswith(".so") or ".so." in name for name in found.ranges)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 50)), max_size=50))
def test_joined_ranges_cover_what_they_are_made_of_and_keep_their_distance(
    pages: list[tuple[int, int]],
) -> None:
    ranges = sorted((first * PAGE_BYTES, count * PAGE_BYTES) for first, count in pages)
    joined = workingset._join(ranges)
    for offset, length in ranges:
        assert any(a <= offset and offset + length <= a + b for a, b in joined)
    for (offset, length), (following, _length) in itertools.pairwise(joined):
        assert following - (offset + length) > JOIN_BYTES


def test_it_survives_a_round_trip_and_a_broken_file_is_none(images: Path) -> None:
    working_set = WorkingSet({"pages-1.img": [(0, PAGE_BYTES), (1 << 20, 4 * PAGE_BYTES)]})
    workingset.save(images, working_set)
    assert workingset.load(images) == working_set
    for broken in ("", "[]", '{"pages-1.img": 3}', '{"pages-1.img": [["x", 1]]}'):
        (images / workingset.NAME).write_text(broken)
        assert workingset.load(images) is None
    (images / workingset.NAME).unlink()
    assert workingset.load(images) is None


def _drop_from_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _cached_pages(path: Path) -> int:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as area:
        vector = (ctypes.c_ubyte * _PAGES)()
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(area)), vector) == 0
        return sum(flag & 1 for flag in vector)


def test_only_what_is_not_cached_is_asked_for(images: Path) -> None:
    pages = images / "pages-1.img"
    length = 256 * PAGE_BYTES
    working_set = WorkingSet({"pages-1.img": [(0, length), (8 << 20, length)]})
    assert workingset.prefetch(images, working_set) == 0
    _drop_from_cache(pages)
    if _cached_pages(pages) > 0:
        pytest.skip("this file system keeps its pages in memory")
    assert workingset.prefetch(images, working_set) == 2 * length
    with pages.open("rb") as file:
        for offset in (0, 8 << 20):
            os.pread(file.fileno(), length, offset)  # waits for what was asked for
    assert workingset.prefetch(images, working_set) == 0


def test_what_either_of_two_touched_is_in_both_joined() -> None:
    one = WorkingSet({"pages-1.img": [(0, PAGE_BYTES)], "/lib/a.so": [(0, PAGE_BYTES)]})
    other = WorkingSet({"pages-1.img": [(PAGE_BYTES, PAGE_BYTES), (1 << 30, PAGE_BYTES)]})
    joined = one.joined_with(other)
    assert joined.ranges["pages-1.img"] == [(0, 2 * PAGE_BYTES), (1 << 30, PAGE_BYTES)]
    assert joined.ranges["/lib/a.so"] == [(0, PAGE_BYTES)]


def test_a_page_file_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert workingset.prefetch(tmp_path, WorkingSet({"pages-9.img": [(0, PAGE_BYTES)]})) == 0
