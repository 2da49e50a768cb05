"""A link to a controller that is not understood."""

from __future__ import annotations

import socket
import threading

import pytest

from rekindle.sdk.connection.link import Link, LostError, Stream
from rekindle.wire import request_frames as wire


@pytest.mark.parametrize("error", [KeyError("no such field"), ValueError("no such number")])
def test_who_waits_is_told_that_what_came_for_another_could_not_be_taken(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: wire.Frame) -> None:
        raise error

    ours, theirs = socket.socketpair()
    link, lost = Link(ours, "token"), threading.Event()
    link.on_lost = lost.set
    with theirs:
        link.follow("Logs", {}, Stream(broken, lambda _: None))
        answer = link.ask("Status", {})
        theirs.sendall(wire.pack({"id": 1, "reply": {}}))
        assert lost.wait(60)
        with pytest.raises(LostError):
            answer.wait(60)
    assert str(error) in caplog.text
    link.close()
