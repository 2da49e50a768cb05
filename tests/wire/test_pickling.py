"""Code by value: for the Python that it was made by, and no other."""

from __future__ import annotations

import pathlib
import pickle
import re
import sys

import pytest

from rekindle.exception import DeserializationError
from rekindle.sdk.objects.canonical import pickled
from rekindle.wire import shared
from rekindle.wire.exceptions import rebuild_exception, record_exception
from rekindle.wire.serialization import deserialize, serialize


def test_code_of_another_python_is_refused_and_what_is_plain_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = serialize((lambda one: one + 1, 2), "the arguments")
    function, value = deserialize(sent, "the arguments")
    assert function(value) == 3
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setattr("rekindle.wire.pickling._here", (3, 99))
    with pytest.raises(DeserializationError) as refused:
        deserialize(sent, "the arguments")
    said = str(refused.value)
    assert f"Python {here}" in said and "Python 3.99" in said and said.startswith("the arguments")
    plain = {"a": [1, 2.5, b"x"], "e": ValueError("x")}
    back = deserialize(serialize(plain, "the result"), "the result")
    assert back["a"] == plain["a"] and isinstance(back["e"], ValueError)
    assert pickle.loads(serialize(len, "a builtin")) is len


def test_a_path_is_pickled_by_names_that_all_pythons_have() -> None:
    """3.13 alone says that its classes are of pathlib._local."""
    values = [pathlib.Path("a/b"), pathlib.PureWindowsPath("c:/x"), pathlib.Path]
    data = serialize(values, "paths")
    assert b"pathlib._local" not in data
    assert pickle.loads(data) == values
    assert b"pathlib._local" not in bytes(shared.pack(values).data)


def test_an_error_of_a_pattern_is_pickled_by_a_name_that_all_pythons_have() -> None:
    """From 3.13 on its class says that it is ``re.PatternError``."""
    with pytest.raises(re.error) as raised:
        re.compile("(")
    record = record_exception(raised.value)
    assert b"PatternError" not in record.data.replace(record.type_name.encode(), b"")
    again = rebuild_exception(record)
    assert type(again) is re.error and again.pos == raised.value.pos
    assert b"PatternError" not in serialize([re.error, raised.value], "a list")
    assert b"PatternError" not in pickled((re.error, 1))
