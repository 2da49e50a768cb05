"""What a runner that has several inputs at a time takes in."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from rekindle.runtime.runner.many.connection import Connection
from rekindle.runtime.runner.many.intake import Intake
from rekindle.runtime.runner.many.run import Run
from rekindle.wire.direct_frames import call_frame
from rekindle.wire.frames import FrameError, FrameSocket, Header
from rekindle.wire.page import RunnerPage
from rekindle.wire.serialization import serialize
from rekindle.wire.shared import pack_input


class Node:
    """The agent's end, and what the runner has taken."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.agent, self._channel = FrameSocket(ours), FrameSocket(theirs)
        self.page = RunnerPage.create()
        self.intake = Intake(self._channel, self.page, lambda method: method or "f")
        self.taken: list[Run] = []
        self.intake.take = self.taken.append
        self.clients: list[socket.socket] = []

    def input(self, slot: int) -> None:
        """One of the queue, of a call of its own."""
        payload = serialize(((slot,), {}), "arguments")
        header: Header = {
            "op": "inputs",
            "call_id": f"fc-{slot}",
            "method": "",
            "depth": 0,
            "indexes": [0],
            "sizes": [len(payload)],
            "max_result_bytes": 1 << 20,
            "slots": [slot],
            "alone": False,
        }
        self.agent.send(header, payload)

    def client(self, slot: int) -> None:
        """One with a lease, whose first call is sent."""
        ours, theirs = socket.socketpair()
        self.clients.append(ours)
        with theirs:
            order: Header = {"op": "lease", "max_result_bytes": 0, "slot": slot}
            self.agent.send_with_fds(order, [theirs.fileno()])
        ours.sendall(call_frame(f"fc-{slot}", "", pack_input((slot,), {})))

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.agent.close()
        self._channel.close()
        self.page.close()


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.close()


def test_all_that_has_come_is_taken_at_once(node: Node) -> None:
    for slot in range(0, 20, 2):
        node.input(slot)
        node.client(slot + 1)
    node.intake.pump()
    assert sorted(run.load()[0][0] for run in node.taken) == list(range(20))


def test_nothing_is_read_after_the_order_to_end(node: Node) -> None:
    node.agent.send({"op": "stop"})
    node.agent.close()
    node.intake.pump()
    assert node.intake.stopped


def test_an_agent_that_is_gone_is_an_error(node: Node) -> None:
    node.input(0)
    node.agent.close()
    with pytest.raises(FrameError):
        node.intake.pump()
    assert len(node.taken) == 1


@pytest.mark.parametrize("says_more", [False, True])
def test_a_call_that_ends_just_as_its_client_goes_ends_its_connection_once(
    node: Node, says_more: bool
) -> None:
    node.client(0)
    node.intake.pump()
    (run,) = node.taken
    connection = run.answerer
    assert isinstance(connection, Connection)
    seen = connection.is_running

    def ends_then(*, then_over: bool) -> bool:
        """As where the thread of the call ends it right after it was seen to run."""
        found = seen(then_over=then_over)
        connection.answer([run])
        return found

    connection.is_running = ends_then  # type: ignore[method-assign]
    if says_more:
        node.clients[0].sendall(b"more")
    else:
        node.clients[0].close()
    node.intake.pump()
    node.intake.pump()
    node._channel.close()
    found = []
    with contextlib.suppress(FrameError):
        while True:
            found.append(node.agent.receive()[0])
    assert [one for one in found if one["op"] == "returned"] == [{"op": "returned", "slot": 0}]
