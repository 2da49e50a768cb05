"""The listener: the agent's socket for clients with leases, and the connections that come of it.

Says who came, with what hello, and who hung up; whose connection is whose is leases.py's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rekindle.wire.frames import FrameError, Header, frame_prefix
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
_HELLO_BYTES = 1024
_PREFIX_BYTES = 12


class DirectListener:
    """``on_hello`` says whether it takes a connection, which is closed otherwise."""

    def __init__(
        self,
        path: Path,
        on_hello: Callable[[socket.socket, Header], Coroutine[Any, Any, bool]],
    ) -> None:
        self.path = path
        self._on_hello = on_hello
        self._listener: socket.socket | None = None
        self._hangups: select.epoll | None = None
        self._watched: dict[int, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Listen, for this user only; does nothing when it is open."""
        if self._listener is not None:
            return
        self.path.unlink(missing_ok=True)  # of an agent that was killed
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o600)
        listener.listen(256)
        self._listener = listener
        self._hangups = select.epoll()
        asyncio.get_running_loop().add_reader(self._hangups.fileno(), self._hung_up)
        self._spawn(self._accept(listener))

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is None or self._hangups is None:
            return
        asyncio.get_running_loop().remove_reader(self._hangups.fileno())
        self._hangups.close()
        self._listener.close()
        self._listener = None
        self.path.unlink(missing_ok=True)

    # ---- who came

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _address = await loop.sock_accept(listener)
            self._spawn(self._greet(sock))

    async def _greet(self, sock: socket.socket) -> None:
        taken = False
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                hello = await _hello(sock)
                taken = await self._on_hello(sock, hello)
        except (TimeoutError, FrameError, ValueError, OSError) as error:
            log.warning("stranger", extra=kv(reason=str(error) or type(error).__name__))
        finally:
            if not taken:
                sock.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._work_ended)

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("bug", exc_info=task.exception())

    # ---- who hung up

    def watch(self, sock: socket.socket, on_hangup: Callable[[], None]) -> None:
        """Call ``on_hangup`` once when the other end is closed. Not a byte is read."""
        assert self._hangups is not None
        self._watched[sock.fileno()] = on_hangup
        self._hangups.register(sock.fileno(), select.EPOLLRDHUP)

    def shut_for_reading(self, sock: socket.socket) -> None:
        """Let no more come in; from then on only the end of both directions is a hang-up."""
        if sock.fileno() in self._watched and self._hangups is not None:
            self._hangups.modify(sock.fileno(), 0)
        try:
            sock.shutdown(socket.SHUT_RD)
        except OSError as error:
            log.debug("not shut", extra=kv(reason=error))  # it is closed already

    def forget(self, sock: socket.socket) -> None:
        """Watch it no longer."""
        if self._watched.pop(sock.fileno(), None) is not None and self._hangups is not None:
            self._hangups.unregister(sock.fileno())

    def _hung_up(self) -> None:
        assert self._hangups is not None
        for fd, _events in self._hangups.poll(0):
            on_hangup = self._watched.pop(fd, None)
            self._hangups.unregister(fd)
            if on_hangup is not None:
                on_hangup()


async def _hello(sock: socket.socket) -> Header:
    """The frame that a client begins with; not a byte of what follows, which is the runner's."""
    sock.setblocking(False)
    header_bytes, body_bytes = frame_prefix(await _exactly(sock, _PREFIX_BYTES))
    if body_bytes or header_bytes > _HELLO_BYTES:
        raise FrameError("not a hello")
    hello = json.loads(await _exactly(sock, header_bytes))
    if not isinstance(hello, dict):
        raise FrameError("not a hello")
    return hello


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise FrameError("the client closed the connection")
        data += piece
    return data
