"""The programs that use a lingering instance, as its supervisor sees them: connections.

A program that ends, however it does, is a connection that ends. With the last one the time begins
after which the instance goes. Knows nothing of what an instance is made of.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator


class Users:
    """Those who are connected, and until when the instance stays without them."""

    def __init__(self, listener: socket.socket, stays_s: float) -> None:
        listener.setblocking(False)
        self.listener = listener
        self.stays_s = stays_s
        self._connected: set[socket.socket] = set()
        self._said = b""
        self._alone_since = time.monotonic()

    def accept(self) -> Iterator[socket.socket]:
        """Those who have come; each is told what all were."""
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:  # no one else waits, or who did has gone
                return
            one.setblocking(False)
            self._connected.add(one)
            self._tell(one, self._said)
            yield one

    def hear(self, one: socket.socket) -> bool:
        """Take in how long a program wants the instance to stay; False where it has gone."""
        try:
            said = one.recv(256)
        except BlockingIOError:
            return True
        except OSError:
            said = b""
        with contextlib.suppress(ValueError, IndexError):
            self.stays_s = float(said.splitlines()[-1])
        return bool(said)

    def left(self, one: socket.socket) -> None:
        """A program has gone."""
        self._connected.discard(one)
        one.close()
        if not self._connected:
            self._alone_since = time.monotonic()

    def say(self, text: str) -> None:
        """Tell all, and those who are still to come."""
        self._said += text.encode() + b"\n"
        for one in self._connected:
            self._tell(one, text.encode() + b"\n")

    def leave_at(self) -> float | None:
        """When the instance is to end, unless somebody comes; None while it is in use."""
        return None if self._connected else self._alone_since + self.stays_s

    def close(self) -> None:
        """Take no more; whoever waits sees that this one is ending and looks for another."""
        self.listener.close()
        for one in self._connected:
            one.close()

    def _tell(self, one: socket.socket, text: bytes) -> None:
        with contextlib.suppress(OSError):  # it has gone: its end is heard next
            one.send(text)
