"""Which keys of a Dict are one key."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest

from rekindle.exception import InvalidError, SerializationError
from rekindle.sdk.objects.keys import (
    entry,
    identity,
    items_of,
    key_of,
    living,
    pickled,
    plain_entries,
    value_of,
)
from rekindle.wire.serialization import serialize

#: Equal in Python.
SAME = [
    (1, True),
    (1, 1.0),
    (0, -0.0),
    ((1, ("a", 2.0)), (True, ("a", 2))),
    (frozenset((1, "b", "a")), frozenset(("a", "b", 1.0))),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_keys_have_one_identity(one: object, other: object) -> None:
    assert one == other and identity(one) == identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1"), ("a", b"a"), (1, 1.5), ((), frozenset()), (None, "None"), (("a",), "a")],
)
def test_other_keys_have_another(one: object, other: object) -> None:
    assert identity(one) != identity(other)


def test_whether_two_parts_are_one_object_does_not_show() -> None:
    part = "some text"
    again = "".join(("some ", "text"))
    assert part is not again
    assert identity((part, part)) == identity((part, again))


def test_hashing_of_another_process_does_not_show() -> None:
    key = "frozenset({'x', 'y', 'z', ('a', 1)})"
    code = f"from rekindle.sdk.objects.keys import identity; print(identity({key}).hex())"
    found = {
        subprocess.check_output([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "ü\ud800",
        "x" * 1000,
        5,
        -(10**30),
        b"raw",
        True,
        1.0,
        2.5,
        None,
        ("a", 1),
        frozenset("ab"),
    ],
)
def test_a_key_comes_back_as_it_was(key: object) -> None:
    name = identity(key)
    stored = entry(key, name, serialize("value", "it"))
    found = key_of(name, stored)
    assert (found, type(found)) == (key, type(key))
    assert value_of(stored, "it") == "value"


def test_other_types_go_by_their_pickles() -> None:
    day = datetime.date(2020, 1, 2)
    assert identity(day) == identity(datetime.date(2020, 1, 2))
    name = identity(day)
    assert key_of(name, entry(day, name, b"")) == day


def test_a_key_that_cannot_be_pickled_or_contains_itself_is_refused() -> None:
    with pytest.raises(SerializationError, match="generator"):
        identity(n for n in ())
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises((InvalidError, SerializationError)):
        identity((1, loop))


def test_many_keys_are_taken_together_whatever_is_in_them() -> None:
    for keys in (
        ["a", "bb", ""],
        ["a\0b", "c"],
        ["a\0s", "\0", "s"],
        ["x\0sy", "z"],
        ["\ud800", "ü", "s"],
        ["only\0one"],
    ):
        pairs = [(key, n) for n, key in enumerate(keys)]
        made = plain_entries(keys, range(len(keys)), 1 << 20)
        if made is None:  # the long way
            names = [identity(key) for key in keys]
            made = [
                part
                for key, name in zip(keys, names, strict=True)
                for part in (name, entry(key, name, pickled(keys.index(key), "it")))
            ]
        assert made[::2] == [identity(key) for key in keys]
        assert list(items_of(made[::2], made[1::2])) == pairs
    for keys, values in (("a", 2), (1, 2)), (["a"], [[1]]), (["a" * 300], [1]), ([], []):
        assert plain_entries(keys, values, 1 << 20) is None
    assert plain_entries(["a"], ["x" * 1000], 2000) is not None
    assert plain_entries(["a"], ["x" * 2000], 2000) is None  # more than was to be


def test_entries_that_were_not_used_for_seven_days_are_left_out() -> None:
    made = plain_entries(["old", "new"], [1, 2], 1 << 20)
    assert made is not None
    names, entries = made[::2], made[1::2]
    assert living(names, entries) == (names, entries)
    entries[0] = bytes(4) + entries[0][4:]
    assert living(names, entries) == (names[1:], entries[1:])
    assert living([], []) == ([], [])
