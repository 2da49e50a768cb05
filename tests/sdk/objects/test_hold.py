"""What keeps an ephemeral object."""

from __future__ import annotations

import socket
from typing import Any

from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.hold import Hold
from rekindle.wire import object_frames as wire


class BackSoon:
    """A link to a controller that goes as it is asked, and is back the next time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._asked = 0

    def connected(self, _session: bytes) -> socket.socket:
        self._asked += 1
        if self._asked == 1:
            raise Gone("it closed the connection")
        return self._sock


def test_an_object_is_held_once_a_controller_that_went_is_back() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(30)
        theirs.sendall(wire.pack_reply(0, wire.Status.DONE))
        link: Any = BackSoon(ours)
        hold = Hold(link, "di-1")
        assert wire.parse_request(theirs.recv(1 << 12))[2].op == wire.Op.HOLD
        hold.end()
