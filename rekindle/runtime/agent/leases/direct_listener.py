"""The agent's socket for clients with leases, and who of them has hung up.

Whose connection is whose is leases.py's to know.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable

from rekindle.runtime.agent.runners.listener import UnixListener
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


class DirectListener(UnixListener):
    """Opened with the first lease."""

    _hangups: select.epoll | None = None

    def open(self) -> None:
        """Listen; does nothing when it is open."""
        super().open()
        if self._hangups is None:
            self._watched: dict[int, Callable[[], None]] = {}
            self._hangups = select.epoll()
            asyncio.get_running_loop().add_reader(self._hangups.fileno(), self._hung_up)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        await super().close()
        if self._hangups is not None:
            asyncio.get_running_loop().remove_reader(self._hangups.fileno())
            self._hangups.close()
            self._hangups = None

    def watch(self, sock: socket.socket, on_hangup: Callable[[], None]) -> None:
        """Call ``on_hangup`` once when the other end is closed. Not a byte is read."""
        assert self._hangups is not None
        self._watched[sock.fileno()] = on_hangup
        self._hangups.register(sock.fileno(), select.EPOLLRDHUP)

    def shut_for_reading(self, sock: socket.socket) -> None:
        """Let no more come in; from then on only the end of both directions is a hang-up."""
        if self._hangups is not None and sock.fileno() in self._watched:
            self._hangups.modify(sock.fileno(), 0)
        try:
            sock.shutdown(socket.SHUT_RD)
        except OSError as error:
            log.debug("not shut", extra=kv(reason=error))  # it is closed already

    def forget(self, sock: socket.socket) -> None:
        """Watch it no longer."""
        if self._hangups is not None and self._watched.pop(sock.fileno(), None) is not None:
            self._hangups.unregister(sock.fileno())

    def _hung_up(self) -> None:
        assert self._hangups is not None
        for fd, _events in self._hangups.poll(0):
            on_hangup = self._watched.pop(fd, None)
            self._hangups.unregister(fd)
            if on_hangup is not None:
                on_hangup()
