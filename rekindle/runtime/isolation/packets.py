"""Packets to a process of the isolation, whole and in order, whether or not there is room now.

That there is none, as that process is busy and has read none of the last ones, is no sign that it
is gone. Knows nothing of what is in them.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence

from rekindle.linux.plain_descriptors import close_all, copies


class PacketSender:
    """The sending half of a packet socket that does not block; reading is its owner's."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        #: What there is no room for yet, and the descriptors (our own copies) that go with it.
        self._waiting: deque[tuple[bytes, list[int]]] = deque()

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send it, or have it sent as soon as there is room; the caller closes its descriptors.

        Raises OSError where the process is gone, or the packet is too large.
        """
        if not self._waiting:
            try:
                socket.send_fds(self._sock, [data], list(fds))
                return
            except BlockingIOError:
                pass
        kept = copies(fds)
        if not self._waiting:
            asyncio.get_running_loop().add_writer(self._sock, self._writable)
        self._waiting.append((data, kept))

    def _writable(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                socket.send_fds(self._sock, [data], fds)
            except BlockingIOError:
                return
            except OSError:
                self.close()  # it is gone: who reads sees that, too
                return
            close_all(fds)
            self._waiting.popleft()
        asyncio.get_running_loop().remove_writer(self._sock)

    def close(self) -> None:
        """Drop what was not sent; to be called before the socket is closed."""
        if self._waiting:
            asyncio.get_running_loop().remove_writer(self._sock)
        while self._waiting:
            close_all(self._waiting.popleft()[1])
