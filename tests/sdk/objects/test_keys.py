"""Which keys of a Dict are one key."""

from __future__ import annotations

import datetime
import http
import inspect
import ipaddress
import re
import subprocess
import sys
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

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
    inside = f"inspect.Attribute('a', 'method', {key}, {{'x', 'y', 'z'}})"
    for one in (key, inside):
        code = "import inspect; from rekindle.sdk.objects.keys import identity; "
        code += f"print(identity({one}).hex())"
        found = {
            subprocess.check_output([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed})
            for seed in ("1", "2", "3")
        }
        assert len(found) == 1, one


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (Path("a/b"), b"\x8c\x07pathlib\x8c\tPosixPath\x93\x8c\x01a\x8c\x01b\x86R"),
        (Path("a") / "b", b"\x8c\x07pathlib\x8c\tPosixPath\x93\x8c\x01a\x8c\x01b\x86R"),
        (
            PurePosixPath("/x//y/."),
            b"\x8c\x07pathlib\x8c\rPurePosixPath\x93\x8c\x01/\x8c\x01x\x8c\x01y\x87R",
        ),
        (
            PureWindowsPath("c:/x"),
            b"\x8c\x07pathlib\x8c\x0fPureWindowsPath\x93\x8c\x03c:\\\x8c\x01x\x86R",
        ),
        ((Path("x"), 1), b"\x8c\x07pathlib\x8c\tPosixPath\x93\x8c\x01x\x85RK\x01\x86"),
        (Path, b"\x8c\x07pathlib\x8c\x04Path\x93"),
        (
            inspect.Attribute("a", "b", Path, frozenset([Path("x")])),
            (
                b"\x8c\x07inspect\x8c\tAttribute\x93(\x8c\x01a\x8c\x01b\x8c\x07pathlib\x8c\x04Path\x93"
                b"(\x8c\x07pathlib\x8c\tPosixPath\x93\x8c\x01x\x85R\x91t\x81"
            ),
        ),
        (
            datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC),
            (
                b"\x8c\x08datetime\x8c\x08datetime\x93C\n\x07\xe4\x01\x02\x03\x00\x00\x00\x00\x00\x8c\x08"
                b"datetime\x8c\x08timezone\x93\x8c\x08datetime\x8c\ttimedelta\x93K\x00K\x00K\x00\x87R\x85R"
                b"\x86R"
            ),
        ),
        (uuid.UUID(int=5), b"\x8c\x04uuid\x8c\x04UUID\x93)\x81}\x8c\x03intK\x05sb"),
        (re.compile("a+", re.I), b'\x8c\x02re\x8c\x08_compile\x93\x8c\x02a+K"\x86R'),
        (Fraction(1, 3), b"\x8c\tfractions\x8c\x08Fraction\x93K\x01K\x03\x86R"),
        (Decimal("1.50"), b"\x8c\x07decimal\x8c\x07Decimal\x93\x8c\x041.50\x85R"),
        (
            ipaddress.ip_network("10.0.0.0/8"),
            b"\x8c\tipaddress\x8c\x0bIPv4Network\x93\x8c\n10.0.0.0/8\x85R",
        ),
        (http.HTTPStatus.OK, b"\x8c\x04http\x8c\nHTTPStatus\x93K\xc8\x85R"),
    ],
)
def test_a_key_has_one_identity_in_all_pythons(key: object, name: bytes) -> None:
    """As Python 3.11 pickles it, whose entries are there; the tests run with others, too."""
    framed = b"\x80\x05\x95" + (len(name) + 1).to_bytes(8, "little") + name + b"."
    assert identity(key) == b"p" + framed


class OfANotebook(NamedTuple):
    part: Path


def test_a_class_of_the_programs_main_is_known_where_main_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OfANotebook, "__module__", "__main__")
    assert not hasattr(sys.modules["__main__"], "OfANotebook")
    assert b"\x8c\x08__main__\x8c\x0bOfANotebook\x93" in identity(OfANotebook(Path("x")))


def test_what_has_no_form_for_other_processes_is_refused_with_what_to_do() -> None:
    class Inner(NamedTuple):
        part: int

    with pytest.raises(InvalidError, match=r"Inner.*at the top level of a module"):
        identity(Inner(1))


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
