"""The agent's Unix sockets: who connects says who it is in a frame, or gets no further."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import StartError
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.wire.frames import FrameError, Header, frame_prefix
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A process that connected has this long to say who it is.
HELLO_TIMEOUT_S = 10.0
_HELLO_BYTES = 4096
_PREFIX_BYTES = 12


class UnixListener:
    """``on_hello`` says whether it takes a connection, which is closed otherwise."""

    def __init__(
        self,
        path: Path,
        on_hello: Callable[[socket.socket, Header], Coroutine[Any, Any, bool]],
    ) -> None:
        self.path = path
        self._on_hello = on_hello
        self._listener: socket.socket | None = None
        self._tasks = BackgroundTasks()

    def open(self) -> None:
        """Listen at ``path``, for this user only; does nothing when it is open."""
        if self._listener is not None:
            return
        self.path.unlink(missing_ok=True)  # of an agent that was killed
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o600)
        listener.listen(256)
        self._listener = listener
        self._tasks.spawn(self._accept(listener))

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        await self._tasks.cancel()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _address = await loop.sock_accept(listener)
            self._tasks.spawn(self._greet(sock))

    async def _greet(self, sock: socket.socket) -> None:
        taken = False
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                hello = await _receive_hello(sock)
                taken = await self._on_hello(sock, hello)
        except (TimeoutError, FrameError, ValueError, OSError) as error:
            log.warning("connection refused", extra=kv(reason=str(error) or type(error).__name__))
        finally:
            if not taken:
                sock.close()


async def _receive_hello(sock: socket.socket) -> Header:
    """The frame that a process begins with; not a byte of what follows it."""
    header_bytes, body_bytes = frame_prefix(await _receive_exactly(sock, _PREFIX_BYTES))
    if body_bytes or header_bytes > _HELLO_BYTES:
        raise FrameError("not a hello")
    hello = json.loads(await _receive_exactly(sock, header_bytes))
    if not isinstance(hello, dict):
        raise FrameError("not a hello")
    return hello


async def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise FrameError("the process closed the connection")
        data += piece
    return data


class RunnerListener(UnixListener):
    """Where templates and runners report, by a one-time token that the agent handed out."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._take)
        self._expected: dict[str, asyncio.Future[Channel]] = {}

    def expect(self) -> tuple[str, asyncio.Future[Channel]]:
        """A token to hand out, and the channel of the process that will say it."""
        token = secrets.token_urlsafe(18)
        future: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._expected[token] = future
        future.add_done_callback(lambda _future: self._expected.pop(token, None))
        return token, future

    async def close(self) -> None:
        """Stop listening: what is expected does not come any more."""
        await super().close()
        for future in list(self._expected.values()):
            if not future.done():
                future.set_exception(StartError("the agent is stopping"))

    async def _take(self, sock: socket.socket, hello: Header) -> bool:
        future = self._expected.get(str(hello.get("token")))
        if future is None or future.done():
            log.warning("unexpected hello")
            return False
        future.set_result(Channel(sock))
        return True
