"""Frames of requests in JSON: they come apart anywhere, and say what protobuf's own form says."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from rekindle import exception
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import request_frames as wire
from rekindle.wire.messages import spec_message
from rekindle.wire.spec import FunctionSpec, RetrySpec


def test_frames_are_taken_out_whole_wherever_the_stream_was_cut() -> None:
    frames = [{"id": 1, "method": "Hello"}, {"id": 2, "text": "ü" * 300}, {}]
    stream = b"".join(map(wire.pack, frames))
    for cut in range(len(stream) + 1):
        buffer = bytearray(stream[:cut])
        found = list(wire.taken(buffer))
        buffer += stream[cut:]
        found += wire.taken(buffer)
        assert found == frames
        assert not buffer


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff....", b"\0\0\0\2[]", b"\0\0\0\1{"])
def test_what_is_no_frame_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        list(wire.taken(bytearray(raw)))


def test_the_fields_of_a_spec_are_its_message() -> None:
    spec = FunctionSpec(
        app_name="a",
        name="f",
        cwd="/tmp/\udcff",  # no text: paths are bytes
        env={"A": "b"},
        sys_path=("/x",),
        max_containers=None,
        retries=RetrySpec(max_retries=3),
    )
    fields = json.loads(wire.pack(spec.message_fields())[4:])
    assert json_format.ParseDict(fields, pb.FunctionSpec()) == spec_message(spec)


def test_an_error_comes_as_the_type_that_it_was() -> None:
    (frame,) = wire.taken(bytearray(wire.error_frame(3, exception.NotFoundError("no such app"))))
    error = wire.error_in(frame)
    assert isinstance(error, exception.NotFoundError)
    assert (str(error), frame["id"]) == ("no such app", 3)
    assert wire.error_in({"id": 3, "reply": {}}) is None
    unknown = wire.error_in({"id": 3, "error": ["NewerError", "text"]})
    assert isinstance(unknown, exception.ServiceError)
