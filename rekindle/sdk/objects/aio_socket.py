"""A connected socket on an event loop: bytes come, and go in the order in which they were sent.

Knows nothing of what the bytes are. Unlike ``loop.sock_sendall`` sending needs no task and no lock:
what the socket does not take at once follows when it takes more.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections import deque
from collections.abc import Callable

READ_BYTES = 1 << 18


class AioSocket:
    """Of the running loop, which closes it when it goes."""

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[bytes], None],
        ended: Callable[[OSError | None], None],
    ) -> None:
        """``sock`` is connected and does not block. ``ended`` is called with the error, None where
        the other side has closed it, and is to close it here."""
        self._sock = sock
        self._received, self._ended = received, ended
        self._unsent: deque[memoryview] = deque()
        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), self._readable)
        weakref.finalize(loop, sock.close)

    def send(self, data: bytes) -> None:
        """Send it, behind what was sent before. Raises OSError, after ``ended``."""
        if self._unsent:
            self._unsent.append(memoryview(data))
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._ended(error)
            raise
        if sent < len(data):
            asyncio.get_running_loop().add_writer(self._sock.fileno(), self._writable)
            self._unsent.append(memoryview(data)[sent:])

    def close(self) -> None:
        """Neither receive nor send any more."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        loop.remove_writer(self._sock.fileno())
        self._sock.close()

    def _writable(self) -> None:
        try:
            while self._unsent:
                piece = self._unsent[0]
                sent = self._sock.send(piece)
                if sent < len(piece):
                    self._unsent[0] = piece[sent:]
                    return
                self._unsent.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(error)
            return
        asyncio.get_running_loop().remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(error)
            return
        if data:
            self._received(data)
        else:
            self._ended(None)
