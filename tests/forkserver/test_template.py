"""What a template says of the children that it forks."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from rekindle.forkserver.forking import Forker
from rekindle.forkserver.template import Template
from rekindle.wire.frames import FrameSocket, Header
from tests import descriptors


class Forks(Forker):
    """In place of forks: processes that end at once, and then no more."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.made: list[subprocess.Popen[bytes]] = []
        self._most = most

    def fork_isolated(self) -> int:
        if len(self.made) == self._most:
            raise OSError(11, "no more processes")
        self.made.append(subprocess.Popen(["true"]))
        return self.made[-1].pid

    def prepare(self) -> None:
        """Nothing is to be made before."""

    def close(self) -> None:
        """Nothing is kept."""


@pytest.fixture
def ends() -> Iterator[tuple[FrameSocket, FrameSocket]]:
    agent, template = map(FrameSocket, socket.socketpair())
    yield agent, template
    agent.close()
    template.close()


def forked(
    most: int, wanted: int, ends: tuple[FrameSocket, FrameSocket]
) -> tuple[list[Header], Forks]:
    """What the agent is told when it orders so many of a template that can have ``most``."""
    agent, channel = ends
    forks = Forks(most)
    template = Template(channel, "", forker=forks)
    given = [os.open("/dev/null", os.O_RDONLY) for _ in range(wanted)]
    agent.send_with_fds(
        {"op": "fork", "names": [f"c{at}" for at in range(wanted)], "spare": False}, given
    )
    agent.send({"op": "exit"})
    for fd in given:
        os.close(fd)
    before = descriptors.opened()
    with pytest.raises(SystemExit):
        template.serve()
    channel.close()
    told = []
    while True:
        try:
            message, _body, fds = agent.receive()
        except ConnectionError:
            break
        if message["op"] == "forked":
            assert len(fds) == len(message["children"])
        for fd in fds:
            os.close(fd)
        told.append(message)
    template._close_children()
    assert not descriptors.newly_open(before)  # the children's connections are theirs
    return told, forks


def test_children_are_told_of_a_few_in_a_message(ends: tuple[FrameSocket, FrameSocket]) -> None:
    told, forks = forked(10, 6, ends)
    of_forks = [message["children"] for message in told if message["op"] == "forked"]
    assert [len(children) for children in of_forks] == [4, 2]
    children = [tuple(child) for some in of_forks for child in some]
    assert children == [(one.pid, f"c{at}") for at, one in enumerate(forks.made)]


def test_where_no_more_can_be_forked_each_child_is_told_of_or_has_failed(
    ends: tuple[FrameSocket, FrameSocket],
) -> None:
    told, forks = forked(5, 8, ends)
    children = [tuple(child) for one in told if one["op"] == "forked" for child in one["children"]]
    assert children == [(one.pid, f"c{at}") for at, one in enumerate(forks.made)]
    (failed,) = [one for one in told if one["op"] == "fork_failed"]
    assert failed["names"] == ["c5", "c6", "c7"]
