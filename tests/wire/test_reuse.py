"""Memory files that are written again: never while somebody sees them, and never for long."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.wire import reuse
from rekindle.wire.memory import MemoryFile
from rekindle.wire.reuse import FILES, KEPT_BYTES, MemoryFiles, kept_bytes
from rekindle.wire.shared import pack, unpack
from tests import descriptors
from tests.interrupts import at_all_places

MB = 1 << 20


class Connection:
    """One end sends values; the other keeps them or not, and tells what is gone when asked to."""

    def __init__(self) -> None:
        self.files, self.other = MemoryFiles(), MemoryFiles()

    def send(self, value: Any) -> Any:
        packed = pack(value, files=self.files)
        fd = -1 if packed.file is None else os.dup(packed.file.fd)
        packed.close()
        return unpack(packed.data, fd, self.other)

    def tell(self) -> None:
        """As the next frame does."""
        gone = self.other.gone
        self.files.came_back([gone.popleft() for _ in range(len(gone))])

    def close(self) -> None:
        self.files.close()
        self.other.close()


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection()
    yield made
    made.close()


def inode_of_next(files: MemoryFiles, size: int) -> int:
    file = files.take(size)
    inode = os.fstat(file.fd).st_ino
    if not file.size:
        file.write(bytes(size), 0)
        file.seal()
    files.sent(file)
    return inode


def test_one_file_serves_values_that_are_let_go(connection: Connection) -> None:
    inodes = set()
    for i in range(10):
        got = connection.send(np.full(MB, i))
        assert (got == i).all()
        (number,) = connection.files._out
        inodes.add(os.fstat(connection.files._out[number].fd).st_ino)
        del got
        connection.tell()
    assert len(inodes) == 1


def test_a_value_that_is_kept_is_never_written_again(connection: Connection) -> None:
    kept = [connection.send(np.full(MB, i)) for i in range(FILES + 2)]
    for i in range(20):
        assert (connection.send(np.full(MB, 100 + i)) == 100 + i).all()
        connection.tell()
    for i, value in enumerate(kept):
        assert (value == i).all()


def test_what_is_told_late_or_twice_or_is_not_known_does_no_harm(connection: Connection) -> None:
    first = connection.send(np.full(MB, 1))
    connection.files.drop()
    connection.files.came_back([1, 1, 77])
    second = connection.send(np.full(MB, 2))
    connection.files.came_back([1])
    third = connection.send(np.full(MB, 3))
    assert (first == 1).all() and (second == 2).all() and (third == 3).all()


def test_a_small_value_does_not_hold_a_large_file(connection: Connection) -> None:
    large = inode_of_next(connection.files, 10 * MB)
    connection.files.came_back([1])
    assert inode_of_next(connection.files, MB) != large
    assert inode_of_next(connection.files, 5 * MB) == large


def test_files_are_bounded_by_count_and_the_oldest_goes(connection: Connection) -> None:
    files = connection.files
    inodes = [inode_of_next(files, MB) for _ in range(FILES + 1)]
    assert files.bytes == FILES * MB
    files.came_back(range(1, FILES + 2))
    found = {inode_of_next(files, MB) for _ in range(FILES)}
    assert found == set(inodes[1:])


def test_what_a_process_keeps_is_bounded(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEPT_BYTES >= 250_000_000
    monkeypatch.setattr(reuse, "KEPT_BYTES", kept_bytes() + 3 * MB)
    other = Connection()
    inode_of_next(other.files, 2 * MB)
    for _ in range(3):
        inode_of_next(connection.files, MB)
    assert (other.files.bytes, connection.files.bytes) == (2 * MB, MB)
    inode_of_next(connection.files, 2 * MB)
    assert connection.files.bytes == MB, "one that is too large is not kept"
    other.files.close()
    inode_of_next(connection.files, 2 * MB)
    assert connection.files.bytes == 3 * MB
    connection.files.close()
    inode_of_next(connection.files, MB)
    assert not connection.files.any, "a closed end keeps nothing"


def test_what_is_idle_is_dropped(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = connection.send(np.ones(MB))
    assert reuse.drop_idle() and connection.files.any
    monkeypatch.setattr(reuse, "IDLE_S", 0.0)
    reuse.drop_idle()
    assert not connection.files.any and (kept == 1).all()
    assert (connection.send(np.zeros(MB)) == 0).all() and connection.files.any


def test_one_thread_sends_while_another_drops(connection: Connection) -> None:
    ended = threading.Event()

    def drop() -> None:
        while not ended.is_set():
            connection.files.drop()

    dropper = threading.Thread(target=drop)
    dropper.start()
    try:
        for i in range(300):
            got = connection.send(np.full(40_000, i))
            assert (got == i).all()
            del got
            connection.tell()
    finally:
        ended.set()
        dropper.join()


def test_a_forked_child_has_none_of_its_parents_files(connection: Connection) -> None:
    inode = inode_of_next(connection.files, MB)
    (file,) = connection.files._out.values()
    fd = file.fd
    with connection.files._lock:  # as when another thread had it
        pid = os.fork()
        if pid == 0:
            try:
                closed = os.fstat(fd).st_ino != inode
            except OSError:
                closed = True
            os._exit(0 if closed and not connection.files.any and not kept_bytes() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert connection.files.any and os.fstat(fd).st_ino == inode


sizes = st.sampled_from([30_000, 40_000, 100_000, 300_000])
actions = st.lists(
    st.one_of(
        st.tuples(st.just("array"), sizes),
        st.tuples(st.just("bytes"), sizes),
        # Inline in the frame, and in files of two sizes.
        st.tuples(st.just("list"), st.sampled_from([10_000, 30_000, 60_000])),
        st.tuples(st.just("forget"), st.integers(0, 5)),
        st.tuples(st.just("tell"), st.none()),
        st.tuples(st.just("drop"), st.none()),
    ),
    max_size=40,
)


def make(kind: str, size: int, fill: int) -> Any:
    if kind == "array":
        return np.full(size, fill)
    if kind == "bytes":
        return bytes([fill]) * (8 * size)
    return [f"{fill}-{i}" for i in range(size)]


@settings(max_examples=25)
@given(actions)
def test_whatever_is_kept_stays_as_it_came(todo: list[tuple[str, Any]]) -> None:
    connection, kept = Connection(), []
    for fill, (what, number) in enumerate(todo):
        if what == "forget":
            del kept[number : number + 2]
        elif what == "tell":
            connection.tell()
        elif what == "drop":
            connection.files.drop()
        else:
            kept.append((make(what, number, fill), connection.send(make(what, number, fill))))
        for sent, got in kept:
            # A list as an array of strings would cost seconds.
            assert (sent == got) if isinstance(sent, list) else np.array_equal(sent, got)
    connection.files.close()


def test_how_many_files_a_process_keeps_is_bounded_by_what_it_may_have_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reuse, "most_files", lambda: reuse.FILES + 2)
    others = [Connection() for _ in range(20)]
    assert not reuse.kept_files()
    for one in others:
        inode_of_next(one.files, MB)
        assert reuse.kept_files() <= reuse.FILES + 2
    for one in others:
        one.close()
    assert not reuse.kept_files()


def test_what_a_signal_cuts_as_it_is_made_ends_without_a_word() -> None:
    unraisable: list[object] = []
    open_before = descriptors.opened()

    def made() -> None:
        MemoryFiles()
        MemoryFile().close()

    def look(at: str) -> None:
        gc.collect()
        for fd, what in descriptors.opened().items():
            if "rekindle-value" in what and fd not in open_before:
                # The kernel has just made it, and nothing of Python's knows its number.
                assert at.startswith("memory.py:") and at.endswith(", in __init__"), at
                os.close(fd)

    before, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        assert at_all_places(made, look)
    finally:
        sys.unraisablehook = before
    assert not unraisable
