"""What crosses a process boundary at each call or start: frames, messages, pages."""

from __future__ import annotations

import socket
from typing import Any

from rekindle.sdk.calls import records
from rekindle.wire import direct_frames
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.callid import new_call_id
from rekindle.wire.frames import pack_frame
from rekindle.wire.granted import Began
from rekindle.wire.node_token import node_token
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import Phase, now_ns
from rekindle.wire.shared import pack_input, unpack

_MARKS = (Phase.ISOLATE, Phase.RESTORE, Phase.RESEED)


def _granted() -> pb.LeaseGranted:
    at_ns = now_ns()
    return pb.LeaseGranted(
        ok=True,
        socket="/tmp/rk-0123456789/direct.sock",
        token="x" * 32,
        runner_id="ru-0123456789abcdef",
        began=pb.RunnerBegan(
            strategy="restore",
            began_ns=at_ns,
            marks=[pb.PhaseMark(phase=phase.value, at_ns=at_ns) for phase in _MARKS],
        ),
    )


def test_a_lease_is_asked_for(benchmark: Any) -> None:
    asked = {"ask": "fn-0123456789abcdef", "params": "", "depth": 0, "strategy": ""}
    benchmark(lambda: pack_frame({**asked, "token": "x" * 43}))


def test_a_lease_is_checked(benchmark: Any) -> None:
    benchmark(node_token, "x" * 43, "ap-0123456789abcdef")


def test_a_lease_is_written_and_read(benchmark: Any) -> None:
    benchmark(lambda: pb.LeaseGranted.FromString(_granted().SerializeToString()))


def test_a_call_goes_there_and_back(benchmark: Any) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    call_id, value = new_call_id(), (1, "two", [3.0])

    def call() -> Any:
        direct_frames.send_call(ours, call_id, "", pack_input((value,), {}, 1 << 20))
        got = direct_frames.receive_call(theirs)
        assert got is not None
        packed = pack_input((value,), {}, 1 << 20)
        direct_frames.send_reply(theirs, direct_frames.OK, (1, 2, 3), packed, printed=False)
        reply = direct_frames.receive_reply(ours)
        assert reply is not None
        return unpack(reply.data, reply.take_fd())

    with ours, theirs:
        assert benchmark(call)[0] == (value,)


def test_a_call_is_recorded(benchmark: Any) -> None:
    at_ns = now_ns()
    began = Began("restore", at_ns, [(phase.value, at_ns) for phase in _MARKS])

    def record() -> None:
        records.add_direct(
            *("ca-0", "function", "ru-0"),
            ok=True,
            submitted_ns=at_ns,
            marks=(at_ns, at_ns, at_ns),
            began=began,
        )

    with records.collect() as found:
        benchmark(record)
    assert found[0].strategy == "restore"


def test_the_page_of_a_runner_is_made_and_given_up(benchmark: Any) -> None:
    def make() -> None:
        page = RunnerPage.create()
        page.handed_over()
        page.close()

    benchmark(make)
