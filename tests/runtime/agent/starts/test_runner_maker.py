"""Whose lines are, where several inputs of a runner print."""

from __future__ import annotations

from rekindle.runtime.agent.starts.runner_maker import _by_call
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.page import tagged


def test_lines_of_several_calls_that_came_at_once_go_to_their_calls_in_order() -> None:
    written = [
        tagged("fc-1", b"one"),
        tagged("fc-1", b"two"),
        b"nobody's\n",
        tagged("fc-2", b"three"),
        tagged("fc-1", b"four"),
    ]
    text = b"".join(written).decode().removesuffix("\n")
    found = list(_by_call(pb.LogLine(text=text, stream="stderr", partial=True)))
    assert [(call, part.text, part.partial) for call, part in found] == [
        ("fc-1", "one\ntwo", False),
        ("", "nobody's", False),
        ("fc-2", "three", False),
        ("fc-1", "four", True),
    ]
    assert {part.stream for _, part in found} == {"stderr"}
