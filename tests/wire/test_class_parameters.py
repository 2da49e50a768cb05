"""Parameters of a class as text: one spelling for equal values, readable by whoever has no code."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.exception import DeserializationError, InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import (
    ClassParameter,
    for_others,
    from_text,
    pack,
    shown,
    to_text,
    unpack,
)
from rekindle.wire.messages import parameter_messages, parameters_of, spec_message, spec_of
from rekindle.wire.spec import FunctionSpec

VALUES = st.one_of(st.text(), st.integers(), st.binary(max_size=100), st.booleans())


@given(st.dictionaries(st.text(min_size=1, max_size=20), VALUES, max_size=8))
def test_what_is_packed_comes_back_with_its_types(
    values: dict[str, str | int | bytes | bool],
) -> None:
    found = unpack(pack("C", values))
    assert found == values
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in values.items()
    }


def test_equal_values_are_equal_bytes_in_whatever_order_they_were_given() -> None:
    one = pack("C", {"name": "model", "other": "model", "size": 1})
    two = pack("C", {"size": 1, "other": "".join(["mo", "del"]), "name": "".join(["m", "odel"])})
    assert one == two == b'{"name":"model","other":"model","size":1}'
    assert pack("C", {"size": True}) != pack("C", {"size": 1})
    assert pack("C", {"x": b"1"}) != pack("C", {"x": "1"})
    assert pack("C", {}) == b"" and unpack(b"") == {}


def test_they_are_json_that_anyone_can_read() -> None:
    packed = pack("C", {"name": "grün", "key": b"\x00\xff", "size": 7, "fast": False})
    assert json.loads(packed) == {
        "name": "grün",
        "key": {"bytes": "AP8="},
        "size": 7,
        "fast": False,
    }
    assert shown(packed) == "fast=False, key=b'\\x00\\xff', name='grün', size=7"
    assert shown(pack("C", {"text": "x" * 100})) == f"text='{'x' * 51}..."


def test_text_of_half_a_character_pair_survives() -> None:
    assert unpack(pack("C", {"name": "\ud800"})) == {"name": "\ud800"}


def test_large_ones_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidError, match=r"16384: pass large values as arguments of a method"):
        pack("C", {"x": "y" * 20_000})
    with pytest.raises(InvalidError, match="too large"):
        pack("C", {"x": 10**5000})


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"size": 7}),
        b"[1]",
        b'{"x":null}',
        b'{"x":1.5}',
        b'{"x":[1]}',
        b'{"x":{"bytes":"?"}}',
        b'{"x":{"bytes":5}}',
        b'{"x":{"other":"AA=="}}',
    ],
)
def test_what_is_no_text_of_parameters_is_refused_and_never_unpickled(data: bytes) -> None:
    with pytest.raises(DeserializationError, match="another version of rekindle"):
        unpack(data)


def test_a_spec_and_a_handle_say_what_parameters_there_are() -> None:
    declared = (ClassParameter("size", "int", to_text(3)), ClassParameter("name", "str"))
    spec = FunctionSpec(app_name="a", name="C", kind="cls", parameters=declared)
    assert FunctionSpec.from_json(spec.to_json()) == spec
    message = pb.FunctionSpec.FromString(spec_message(spec).SerializeToString())
    assert spec_of(message) == spec
    handle = pb.FunctionHandle(parameters=parameter_messages(declared))
    assert parameters_of(handle.parameters) == declared
    assert declared[0].value() == 3 and declared[1].value() is None
    assert from_text(to_text(b"\x01")) == b"\x01"


def test_values_are_those_of_a_class_that_has_other_parameters_now() -> None:
    data = pack("C", {"name": "a", "size": 3, "fast": True})
    size, name = ClassParameter("size", "int", "1"), ClassParameter("name", "str")
    assert for_others("C", [name, size], data) == pack("C", {"name": "a", "size": 3})
    as_text = ClassParameter("size", "str", '"small"')
    assert for_others("C", [as_text], data) == pack("C", {"size": "small"})
    added = ClassParameter("key", "bytes", '{"bytes":"aw=="}')
    assert for_others("C", [name, added], data) == pack("C", {"name": "a", "key": b"k"})
    assert for_others("C", [ClassParameter("new", "str")], data) is None
    assert for_others("C", [ClassParameter("fast", "int")], data) is None, "a bool is no int"
    assert for_others("C", [], data) == b""
