"""Mappings that are read again: they show what the file has now, and only what nobody wrote to."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.linux.libc import libc
from rekindle.wire import kept_maps
from rekindle.wire.kept_maps import KeptMaps
from rekindle.wire.memory import MemoryFile, MemoryNotWholeError

SIZE = (2 << 20) + 77
LONG_S = 60.0


@pytest.fixture
def maps() -> Iterator[KeptMaps]:
    made = KeptMaps(LONG_S)
    yield made
    made.close()
    assert mapped() == 0


def filled(byte: bytes, size: int = SIZE) -> MemoryFile:
    file = MemoryFile()
    file.write(byte * size, 0)
    file.seal()
    return file


def mapped() -> int:
    """How often memory files are mapped to be read."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum("rekindle-value" in line and "rw-p" in line for line in lines)


def test_it_shows_what_the_file_has_now_and_is_mapped_once(maps: KeptMaps) -> None:
    file = filled(b"0")
    for turn in range(5):
        value = str(turn).encode()
        file.reuse()
        file.write(value * SIZE, 0)
        view = maps.view(file.fd, 3, SIZE - turn)
        assert bytes(view) == value * (SIZE - turn)
        assert not maps.gone
        part = view[5:9]
        del view
        assert not maps.gone and bytes(part) == value * 4
        del part
        assert maps.gone.popleft() == 3 and mapped() == 1
    file.close()
    assert mapped() == 1
    maps.drop()
    assert mapped() == 0


@pytest.mark.parametrize("at", [0, SIZE // 2, SIZE - 1])
def test_what_was_written_to_is_not_kept_and_the_next_value_is_whole(
    maps: KeptMaps, at: int
) -> None:
    file = filled(b"a")
    view = maps.view(file.fd, 1, SIZE)
    assert bytes(view) == b"a" * SIZE
    view[at] = ord("z")
    del view
    assert list(maps.gone) == [1] and mapped() == 0
    file.reuse()
    file.write(b"b" * SIZE, 0)
    assert bytes(maps.view(file.fd, 1, SIZE)) == b"b" * SIZE
    file.close()


def test_what_a_program_made_read_only_can_be_written_again_when_it_is_the_next_value(
    maps: KeptMaps,
) -> None:
    file = filled(b"a")
    view = maps.view(file.fd, 1, SIZE)
    place = ctypes.c_char.from_buffer(view)
    page = ctypes.addressof(place) + mmap.PAGESIZE
    libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ)
    assert mapped() == 2, "the pages before and after it"
    del view, place
    assert list(maps.gone) == [1]
    view = maps.view(file.fd, 1, SIZE)
    assert mapped() == 1
    view[mmap.PAGESIZE] = ord("z")
    file.close()


def test_another_file_of_the_same_number_is_read_and_not_the_one_before(maps: KeptMaps) -> None:
    for byte, size in ((b"a", SIZE), (b"b", SIZE), (b"c", SIZE + (1 << 20))):
        file = filled(byte, size)
        assert bytes(maps.view(file.fd, 1, size)) == byte * size
        file.close()
    assert mapped() == 1


def test_no_more_are_kept_than_the_other_end_keeps(maps: KeptMaps) -> None:
    files = [filled(b"%d" % number) for number in range(7)]
    for turn in range(2):
        for number, file in enumerate(files):
            assert maps.view(file.fd, number, SIZE)[turn] == ord(str(number))
            assert mapped() <= kept_maps._MOST
    for file in files:
        file.close()


def test_no_more_are_kept_when_many_values_go_at_once(maps: KeptMaps) -> None:
    files = [filled(b"%d" % number) for number in range(7)]
    views = [maps.view(file.fd, number, SIZE) for number, file in enumerate(files)]
    assert mapped() == 7
    views.clear()
    assert mapped() == kept_maps._MOST and list(maps.gone) == [*range(6, -1, -1)]
    for file in files:
        file.close()


def test_no_more_bytes_are_kept_than_the_other_end_keeps(
    maps: KeptMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_maps, "_MOST_BYTES", 2 * SIZE)
    monkeypatch.setattr(KeptMaps._drop, "__defaults__", (2 * SIZE,))
    files = [filled(b"a"), filled(b"b"), filled(b"c"), filled(b"d", 3 * SIZE)]
    for number, file in enumerate(files):
        assert maps.view(file.fd, number, file.size)[0]
    assert mapped() == 2
    for file in files:
        file.close()


def test_a_file_that_nothing_came_in_for_long_is_let_go_though_others_are_in_use() -> None:
    maps, files = KeptMaps(0.05), [filled(b"a"), filled(b"b")]
    assert maps.view(files[0].fd, 0, SIZE)[0]
    until = time.monotonic() + LONG_S
    while 0 in maps._kept and time.monotonic() < until:
        assert maps.view(files[1].fd, 1, SIZE)[0] == ord("b")
    assert mapped() == 1
    maps.close()
    for file in files:
        file.close()


class Writes:
    """Writes to its value as it is collected."""

    def __init__(self, view: memoryview) -> None:
        self.view, self.itself = view, self

    def __del__(self) -> None:
        self.view[100:104] = b"DEAD"


def test_what_a_cycle_writes_as_it_is_collected_is_not_in_the_next_value(maps: KeptMaps) -> None:
    file = filled(b"a")
    gc.collect()
    Writes(maps.view(file.fd, 1, SIZE))
    gc.collect()
    file.reuse()
    file.write(b"b" * SIZE, 0)
    assert bytes(maps.view(file.fd, 1, SIZE)) == b"b" * SIZE
    file.close()


def test_small_ones_and_those_that_were_seen_for_long_are_not_kept() -> None:
    maps, file = KeptMaps(0.05), filled(b"a")
    view = maps.view(file.fd, 1, SIZE)
    until = time.monotonic() + LONG_S
    while maps.any and time.monotonic() < until:
        time.sleep(0.01)
    del view
    small = filled(b"s", 300_000)
    assert maps.view(small.fd, 2, 300_000)[0] == ord("s")
    assert list(maps.gone) == [1, 2] and mapped() == 0 and not maps._kept
    file.close()
    small.close()


def test_what_is_seen_when_the_connection_ends_is_unmapped_once_it_is_not() -> None:
    maps, file = KeptMaps(LONG_S), filled(b"a")
    view = maps.view(file.fd, 1, SIZE)
    maps.close()
    assert view[1] == ord("a") and mapped() == 1
    del view
    assert mapped() == 0
    file.close()


def test_what_a_forked_child_may_see_is_neither_kept_nor_told_to_be_gone(maps: KeptMaps) -> None:
    file = filled(b"a")
    kept = maps.view(file.fd, 1, SIZE)
    del kept
    view = maps.view(file.fd, 1, SIZE)
    maps.gone.clear()
    asked = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(asked[0], 1)
        os._exit(0 if bytes(view[:2]) == b"aa" else 1)
    del view
    assert not maps.gone and mapped() == 0
    os.write(asked[1], b".")
    assert os.waitpid(pid, 0)[1] == 0
    for fd in asked:
        os.close(fd)
    file.close()


def test_the_last_reference_may_go_on_any_thread_while_another_drops(maps: KeptMaps) -> None:
    file, over = filled(b"a"), threading.Event()

    def drop() -> None:
        while not over.is_set():
            maps.drop()

    dropping = threading.Thread(target=drop)
    dropping.start()
    for number in range(500):
        view = maps.view(file.fd, number % 6, SIZE)
        assert view[SIZE - 1] == ord("a")
        del view
    over.set()
    dropping.join()
    file.close()


def test_what_is_not_whole_is_refused(maps: KeptMaps) -> None:
    file = filled(b"a")
    with pytest.raises(MemoryNotWholeError):
        maps.view(file.fd, 1, SIZE + 1)
    file.close()
