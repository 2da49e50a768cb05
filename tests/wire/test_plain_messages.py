"""Messages without protobuf are to be those of protobuf, byte for byte, for the whole contract."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import json_format

from rekindle.wire import plain_contract
from rekindle.wire import rekindle_pb2 as pb

_MESSAGES = sorted(pb.DESCRIPTOR.message_types_by_name)
_DEEPEST = 3


@pytest.fixture(scope="module")
def plain() -> Any:
    """The module that images have in place of rekindle_pb2."""
    names: dict[str, Any] = {}
    exec(compile(plain_contract.source(), "plain", "exec"), names)
    return SimpleNamespace(**names)


def _value(field: Any, chance: random.Random, depth: int) -> Any:
    if field.message_type is not None:
        return _filled(getattr(pb, field.message_type.name), chance, depth + 1)
    limits = {"int32": 31, "sint32": 31, "int64": 63, "uint64": 64, "uint32": 32}
    for name, bits in limits.items():
        if field.type == getattr(field, f"TYPE_{name.upper()}"):
            low = 0 if name.startswith("u") else -(1 << bits)
            return chance.choice(
                [0, 1, 127, 128, low, (1 << bits) - 1, chance.randrange(1 << bits)]
            )
    if field.type == field.TYPE_ENUM:
        return chance.choice([one.number for one in field.enum_type.values])
    return {
        field.TYPE_BOOL: lambda: chance.random() < 0.5,
        field.TYPE_DOUBLE: lambda: chance.choice([0.0, 1.5, -2.25e300, float("inf")]),
        field.TYPE_STRING: lambda: chance.choice(["", "name", "größer ☃"]),
        field.TYPE_BYTES: lambda: chance.choice([b"", b"\x00\xff", chance.randbytes(300)]),
    }[field.type]()


def _filled(kind: Any, chance: random.Random, depth: int = 0) -> Any:
    """A message of protobuf's with something in most of its fields."""
    made = kind()
    for field in kind.DESCRIPTOR.fields:
        if chance.random() < 0.2 or (field.message_type is not None and depth >= _DEEPEST):
            continue
        there = getattr(made, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of_key, of_value = field.message_type.fields
            for _ in range(2):
                key = _value(of_key, chance, depth)
                if of_value.message_type is not None:
                    there[key].CopyFrom(_value(of_value, chance, depth))
                else:
                    there[key] = _value(of_value, chance, depth)
        elif hasattr(there, "extend"):
            there.extend(_value(field, chance, depth) for _ in range(chance.randrange(4)))
        elif field.message_type is not None:
            there.CopyFrom(_value(field, chance, depth))
        else:
            setattr(made, field.name, _value(field, chance, depth))
    return made


@pytest.mark.parametrize("name", _MESSAGES)
def test_each_message_of_the_contract_is_read_and_written_as_protobuf_does(
    plain: Any, name: str
) -> None:
    kind, chance = getattr(pb, name), random.Random(name)
    for _ in range(20):
        theirs = _filled(kind, chance)
        ours = getattr(plain, name).FromString(theirs.SerializeToString())
        back = kind.FromString(ours.SerializeToString())
        assert json_format.MessageToDict(back) == json_format.MessageToDict(theirs)
        assert back == theirs
        assert [one.name for one in kind.DESCRIPTOR.fields if _there(theirs, one)] == [
            one.name for one in ours.DESCRIPTOR.fields if _there(ours, one)
        ]


def _there(message: Any, field: Any) -> bool:
    return bool(field.has_presence and message.HasField(field.name))


def test_what_the_client_does_with_messages_works_as_with_protobufs(plain: Any) -> None:
    for made in (pb, plain):
        request = made.SubmitRequest(
            call_id="fc-1", inputs=[made.Input(index=0, payload=b"x"), {"index": 1}], params=None
        )
        request.inputs[1].blob = "key"
        request.inputs[0].ClearField("payload")
        again = made.SubmitRequest.FromString(request.SerializeToString())
        assert [one.blob for one in again.inputs] == ["", "key"] and again == request
        assert again.inputs[0].payload == b""
        reply = made.LeaseReply()
        assert not reply.HasField("began") and reply.began.strategy == ""
        assert not reply.HasField("began")  # looking sets nothing
        reply.began.strategy = "fork"
        assert reply.HasField("began")
        assert made.ResultStatus.Name(made.SUCCESS) == "SUCCESS"
        option = made.OptionValue(number=2.0)
        assert option.WhichOneof("kind") == "number"
        option.text = "two"
        assert option.WhichOneof("kind") == "text" and option.number == 0.0
        with pytest.raises(ValueError):
            made.Input(no_such_field=1)
        with pytest.raises(AttributeError):
            made.Input().no_such_field = 1
        with pytest.raises(TypeError):
            made.Input(payload="text")


def test_what_a_newer_peer_adds_is_passed_over_and_what_is_damaged_is_told(plain: Any) -> None:
    newer = pb.Input(index=3, payload=b"p").SerializeToString() + b"\xfa\x06\x03abc\xf8\x06\x05"
    assert plain.Input.FromString(newer) == plain.Input(index=3, payload=b"p")
    for damaged in (newer[:-1], b"\x0a", b"\x0a\x7f", b"\xff" * 12, b"\x0b"):
        with pytest.raises(ValueError):
            plain.Input.FromString(damaged)
    times = pb.Arrivals(at=[1.5, 2.5]).SerializeToString()
    assert list(plain.Arrivals.FromString(times).at) == [1.5, 2.5]
    with pytest.raises(ValueError):
        plain.Arrivals.FromString(times[:1] + b"\x0f" + times[2:-1])
