"""The blocking end of a channel whose other end goes."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from rekindle.wire.frames import FrameError, FrameSocket


@pytest.mark.parametrize(
    "act",
    [
        lambda frames: frames.send({"op": "ready"}),
        lambda frames: frames.send({"op": "results"}, b"x" * (1 << 20)),
        lambda frames: frames.send_with_fds({"op": "forked"}, [0]),
        FrameSocket.receive,
    ],
    ids=["send", "send much", "send descriptors", "receive"],
)
@pytest.mark.parametrize("unread", [b"", b"what it was sent"])
def test_an_end_that_has_gone_is_one_error_whatever_is_done(
    act: Callable[[FrameSocket], object], unread: bytes
) -> None:
    own, other = socket.socketpair()
    own.sendall(unread)  # what is unread makes it a reset
    other.close()
    with own, pytest.raises(FrameError, match="the agent closed the connection"):
        act(FrameSocket(own))
