"""A slice of inputs in a runner: each is for itself, and what its results and its page say."""

from __future__ import annotations

import pickle
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rekindle.execution import context, nesting
from rekindle.runtime.runner.inputs import Inputs
from rekindle.runtime.runner.service import Service
from rekindle.wire import finished
from rekindle.wire.finished import Ending, Finished
from rekindle.wire.frames import FrameSocket
from rekindle.wire.page import AREA_BYTES, CANCEL_SIGNAL, RunnerPage


class Runner:
    """Runs slices of a function; the agent is the other end of a socket pair."""

    def __init__(self, agent: socket.socket, runner: socket.socket) -> None:
        self.page = RunnerPage.create()
        self._agent, self._channel = FrameSocket(agent), FrameSocket(runner)
        nesting.attach(self.page)

    def run(self, function: Callable[..., Any], *payloads: bytes) -> list[Finished]:
        """What came of the inputs of one slice."""
        header = {
            "slice": 1,
            "call_id": "fc-1",
            "method": "",
            "depth": 2,
            "indexes": list(range(10, 10 + len(payloads))),
            "sizes": [len(payload) for payload in payloads],
            "max_result_bytes": 1 << 30,
        }
        inputs = Inputs(Service("f", {"": function}), self._channel, self.page)
        inputs.run(header, b"".join(payloads))
        records: list[Finished] = []
        while True:
            results, body, _ = self._agent.receive()
            records += finished.read(body)
            if results["last"]:
                return records


@pytest.fixture
def runner() -> Iterator[Runner]:
    agent, own = socket.socketpair()
    for end in (agent, own):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    with agent, own:
        made = Runner(agent, own)
        yield made
    nesting.begin(-1)
    nesting.detach()
    signal.signal(CANCEL_SIGNAL, signal.SIG_DFL)
    made.page.close()


def _input(*args: Any) -> bytes:
    return pickle.dumps((args, {}))


def test_each_input_has_its_own_id_times_and_ending(runner: Runner) -> None:
    ids = []

    def half(x: int) -> float:
        ids.append((context.current_input_id(), context.current_function_call_id()))
        return 1 / x

    two, none, broken = runner.run(half, _input(2), _input(0), b"no pickle")
    assert ids == [("fc-1:10", "fc-1"), ("fc-1:11", "fc-1")]
    assert context.current_input_id() is None
    assert (two.number, two.ending, pickle.loads(two.data)) == (10, Ending.RETURNED, 0.5)
    assert 0 < two.began_ns <= two.loaded_ns <= two.ended_ns <= none.began_ns
    assert (none.number, none.ending, broken.ending) == (11, Ending.RAISED, Ending.RAISED)
    assert finished.read_failure(none.data)[0]["error_type"] == "ZeroDivisionError"
    description = finished.read_failure(broken.data)[0]
    assert description["error_type"].endswith("DeserializationError")
    assert description["message"].startswith("the arguments of f cannot be unpickled here")
    page = runner.page
    assert (page.done, page.failed, page.began_ns, page.unsent()) == (3, 2, 0, (1, b""))


def test_a_result_that_has_no_room_in_the_page_comes_in_its_turn(runner: Runner) -> None:
    sizes = [10, AREA_BYTES - 100, 100, AREA_BYTES + 1, 10]
    records = runner.run(bytes, *map(_input, sizes))
    assert [record.number for record in records] == [10, 11, 12, 13, 14]
    assert [len(pickle.loads(record.data)) for record in records] == sizes
    assert (runner.page.done, runner.page.began_ns) == (5, 0)


def test_a_thread_of_an_input_that_has_ended_does_not_have_the_next_one_wait(
    runner: Runner,
) -> None:
    waits = []

    def leave_behind(x: int) -> None:
        waits.append(runner.page.waits_at)
        nesting.waiting().__enter__()  # as a thread does that is still there after the input
        waits.append(runner.page.waits_at)

    runner.run(leave_behind, _input(1), _input(2))
    assert waits == [-1, 2, -1, 2]
