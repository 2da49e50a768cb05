"""Which of the clients with leases has hung up: seen without reading a byte of theirs.

Whose connection is whose is leases.py's to know.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable

from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


class Hangups:
    """Watches connections, once it is open."""

    def __init__(self) -> None:
        self._watched: dict[int, Callable[[], None]] = {}
        self._epoll: select.epoll | None = None

    def open(self) -> None:
        """On the loop that runs."""
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._hung_up)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def watch(self, sock: socket.socket, on_hangup: Callable[[], None]) -> None:
        """Call ``on_hangup`` once when the other end is closed."""
        self.open()
        assert self._epoll is not None
        self._watched[sock.fileno()] = on_hangup
        self._epoll.register(sock.fileno(), select.EPOLLRDHUP)

    def shut_for_reading(self, sock: socket.socket) -> None:
        """Let no more come in; from then on only the end of both directions is a hang-up."""
        if self._epoll is not None and sock.fileno() in self._watched:
            self._epoll.modify(sock.fileno(), 0)
        try:
            sock.shutdown(socket.SHUT_RD)
        except OSError as error:
            log.debug("not shut", extra=kv(reason=error))  # it is closed already

    def forget(self, sock: socket.socket) -> None:
        """Watch it no longer."""
        if self._epoll is not None and self._watched.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def _hung_up(self) -> None:
        assert self._epoll is not None
        for fd, _events in self._epoll.poll(0):
            on_hangup = self._watched.pop(fd, None)
            self._epoll.unregister(fd)
            if on_hangup is not None:
                on_hangup()
