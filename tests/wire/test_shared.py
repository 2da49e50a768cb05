"""Values by shared memory: whole, writable, private to the receiver, and gone when they die."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rekindle.wire.memory import MemoryNotWholeError
from rekindle.wire.reuse import MemoryFiles
from rekindle.wire.shared import INLINE_BYTES, Packed, TooLargeError, pack, pack_input, unpack
from tests import descriptors

BIG = 4 * INLINE_BYTES


def arrived(packed: Packed) -> int:
    """The receiver's descriptor."""
    fd = -1 if packed.file is None else os.dup(packed.file.fd)
    packed.close()
    return fd


def there_and_back(value: Any, files: MemoryFiles | None = None) -> Any:
    packed = pack(value, files=files)
    return unpack(packed.data, arrived(packed))


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("rekindle-value")


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        "text",
        (1, {"a": [2.5, b"bytes"]}),
        {1, 2},
        b"x" * (INLINE_BYTES - 100),
        b"x" * BIG,
        "é" * BIG,
        [b"y" * BIG, "z" * BIG, bytearray(b"w" * BIG)],
        list(range(200_000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_come_as_they_were(value: Any) -> None:
    assert there_and_back(value) == value


def test_what_is_small_needs_no_memory_file() -> None:
    before = descriptors.opened()
    packed = pack([np.zeros(100), b"x" * 1000])
    assert packed.file is None and not descriptors.newly_open(before)


def test_arrays_are_mapped_not_copied_and_can_be_written() -> None:
    sent = [np.arange(BIG, dtype=np.int64), np.ones((300, 300)), np.zeros(3)]
    packed = pack(sent)
    assert packed.file is not None
    other = os.dup(packed.file.fd)
    first, second = unpack(packed.data, arrived(packed)), unpack(packed.data, other)
    assert mappings() == 2
    for got, want in zip(first, sent, strict=True):
        assert np.array_equal(got, want)
        assert got.flags.writeable
        got += 1
    assert all(np.array_equal(got, want) for got, want in zip(second, sent, strict=True))
    assert all(got.ctypes.data % 16 == 0 for got in second)


def test_memory_is_free_when_the_last_array_dies() -> None:
    before = descriptors.opened()
    first, second = there_and_back((np.zeros(BIG), np.ones(BIG)))
    assert mappings() == 1
    assert not descriptors.newly_open(before), "a mapping holds no descriptor"
    del first
    assert mappings() == 1 and second[0] == 1
    del second
    assert mappings() == 0


def test_an_array_that_is_read_only_stays_so() -> None:
    sent = np.arange(BIG)
    sent.flags.writeable = False
    assert not there_and_back(sent).flags.writeable


def test_arrays_that_are_not_contiguous_and_views_arrive_right() -> None:
    base = np.arange(BIG, dtype=np.float64).reshape(-1, 4)
    for sent in (base[::2], base.T, np.asfortranarray(base), base[:, 1]):
        assert np.array_equal(there_and_back(sent), sent)


def test_functions_and_classes_of_scripts_travel_by_value() -> None:
    factor = 3

    def times(x: int) -> int:
        return factor * x

    assert there_and_back((times, b"x" * BIG))[0](2) == 6


def test_nobody_can_cut_short_what_was_packed() -> None:
    packed = pack(b"x" * BIG)
    assert packed.file is not None
    with pytest.raises(PermissionError):
        os.ftruncate(packed.file.fd, 10)
    packed.close()


def test_memory_that_is_not_sealed_or_not_whole_is_refused() -> None:
    packed = pack(np.zeros(BIG))
    fd = os.memfd_create("other")
    os.ftruncate(fd, 20 * BIG)
    with pytest.raises(MemoryNotWholeError, match="not sealed"):
        unpack(packed.data, fd)
    with pytest.raises(MemoryNotWholeError, match="not whole"):
        unpack(packed.data, arrived(pack(np.zeros(BIG // 2))))


@pytest.mark.parametrize("size", [INLINE_BYTES, BIG, 5 << 20, (5 << 20) + 13])
def test_large_bytes_own_their_memory(size: int) -> None:
    data = os.urandom(size)
    packed = pack_input((data, 1, data), {"more": data[1:], "text": "x"})
    (first, one, again), more = unpack(packed.data, arrived(packed))
    assert mappings() == 0
    assert (first, one, again) == (data, 1, data)
    assert more == {"more": data[1:], "text": "x"}
    assert type(first) is bytes and hash(first) == hash(data)
    assert there_and_back(data) == data


def test_a_value_that_turns_out_larger_or_smaller_moves_to_a_file_of_its_size() -> None:
    files = MemoryFiles()
    small, large = ["é" * 1000] * 200, [os.urandom(100_000) for _ in range(50)]
    for value in (large, small, [os.urandom(1000) for _ in range(400)], large, [*large, *large]):
        for _ in range(3):
            packed = pack(value, files=files)
            assert packed.file is None or packed.file.size < 5 * sum(map(len, value)) + BIG
            number = 0 if packed.file is None else packed.file.number
            assert unpack(packed.data, arrived(packed)) == value
            files.came_back([number])
    files.close()


def test_a_limit_stops_before_everything_is_written() -> None:
    before = descriptors.opened()
    for value in (b"x" * BIG, np.zeros(BIG), [b"x" * 1000] * 1000):
        with pytest.raises(TooLargeError) as caught:
            pack(value, 1000)
        assert caught.value.limit == 1000 < caught.value.size
    assert not descriptors.newly_open(before)


class Interrupted:
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize("files", [None, MemoryFiles()], ids=["new", "reused"])
def test_what_cannot_be_pickled_leaves_no_descriptor(files: MemoryFiles | None) -> None:
    there_and_back([b"x" * BIG], files)
    if files is not None:
        files.came_back([1])
    before = descriptors.opened()
    with pytest.raises(TypeError):
        pack([b"x" * BIG, np.zeros(BIG), threading.Lock()], files=files)
    with pytest.raises(KeyboardInterrupt):
        pack([b"x" * BIG, np.zeros(BIG), Interrupted()], files=files)
    new = len(descriptors.since(before))
    assert new <= (files is not None)  # its mapping may have one now
    if files is not None:
        assert there_and_back([b"y" * BIG], files) == [b"y" * BIG]
        files.close()


def test_arguments_are_a_tuple_and_a_dict() -> None:
    for args, kwargs in (((), {}), ((1,), {}), ((), {"a": np.zeros(BIG).sum()})):
        packed = pack_input(args, kwargs)
        assert unpack(packed.data, arrived(packed)) == (args, kwargs)


@pytest.mark.parametrize("size", [10, INLINE_BYTES + 1, 2_000_000])
def test_what_is_packed_can_be_sent_again_and_as_one_pickle(size: int) -> None:
    fixed = np.arange(size)
    fixed.setflags(write=False)
    packed = pack_input((b"b" * size, bytearray(size)), {"array": np.arange(size), "fixed": fixed})
    other = packed.again()
    assert packed.size == other.size and size * 18 <= packed.size <= size * 18 + 2000
    one = packed.in_one()
    packed.close()
    assert other.in_one() == one
    for args, kwargs in (pickle.loads(one), unpack(other.data, arrived(other))):
        assert args == (b"b" * size, bytearray(size)) and [*map(type, args)] == [bytes, bytearray]
        assert (kwargs["array"] == fixed).all() and (kwargs["fixed"] == fixed).all()
        assert kwargs["array"].flags.writeable and not kwargs["fixed"].flags.writeable
