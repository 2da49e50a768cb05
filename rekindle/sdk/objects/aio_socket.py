"""A connected socket on an event loop: bytes come, and go in the order in which they were sent.

Knows nothing of what the bytes are. Unlike ``loop.sock_sendall`` sending needs no task and no lock:
what the socket does not take at once follows when it takes more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import weakref
from collections import deque
from collections.abc import Callable

from rekindle.wire.usercode import came_by_signal

READ_BYTES = 1 << 18
_NEVER_S = 100 * 365 * 86_400.0
#: The other side takes less than one to hear of the end, as a rule.
_END_MS = 100


class AioSocket:
    """Of the running loop; it is closed when that is, or goes."""

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
        self._loop = weakref.ref(loop)
        loop.add_reader(sock.fileno(), self._readable)
        self._kept = _closed_with(loop, sock)

    def send(self, data: bytes) -> None:
        """Send it, behind what was sent before. Raises OSError, after ``ended``."""
        if self._unsent:
            self._unsent.append(memoryview(data))
            return
        try:
            sent = self._taken(data)
            if sent < len(data):
                asyncio.get_running_loop().add_writer(self._sock.fileno(), self._writable)
                self._unsent.append(memoryview(data)[sent:])
        except BaseException as error:
            self._ended(_cut(error))
            raise

    def _taken(self, data: bytes | memoryview) -> int:
        """How many bytes the socket takes now. Raises OSError."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Neither receive nor send any more."""
        loop = self._loop()  # it may run no more
        if loop is not None:
            loop.remove_reader(self._sock.fileno())
            loop.remove_writer(self._sock.fileno())
        if (kept := self._kept()) is not None:
            kept.cancel()
        self._sock.close()

    def _writable(self) -> None:
        self._do(self._write)

    def _readable(self) -> None:
        self._do(self._read)

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:
            self._ended(_cut(error))
            if not isinstance(error, OSError) or came_by_signal(error):
                raise

    def _write(self) -> None:
        while self._unsent:
            piece = self._unsent[0]
            sent = self._taken(piece)
            if sent < len(piece):
                self._unsent[0] = piece[sent:]
                return
            self._unsent.popleft()
        asyncio.get_running_loop().remove_writer(self._sock.fileno())

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._received(data)
        else:
            self._ended(None)


def _closed_with(
    loop: asyncio.AbstractEventLoop, sock: socket.socket
) -> weakref.ref[asyncio.TimerHandle]:
    """Close a socket when a loop lets go of its timers: as it is closed, or goes.

    Nothing else tells of that. The other side would go on serving who can hear nothing.
    """

    def never() -> None:
        """Is not referred to by anything but its timer."""

    weakref.finalize(never, _end, sock, os.getpid())
    return weakref.ref(loop.call_later(_NEVER_S, never))


def _end(sock: socket.socket, pid: int) -> None:
    """Close it once the other side has read what was sent, and closed it, too; in the process
    ``pid``, to which it belongs: a child's end of it is no end of the connection.

    Before that it would fail there as it answers, and let go of what it has not read: of what is to
    be put back, say.
    """
    if os.getpid() == pid:
        with contextlib.suppress(OSError):  # it was closed, or the other side has gone
            sock.shutdown(socket.SHUT_WR)
            poll = select.poll()
            poll.register(sock, 0)  # for the end alone, which is always told
            poll.poll(_END_MS)
    sock.close()


def _cut(error: BaseException) -> OSError:
    """Why the connection ends; by a signal's, too: nobody knows what of it has been dealt with."""
    return error if isinstance(error, OSError) else OSError(f"it was cut by {error!r}")
