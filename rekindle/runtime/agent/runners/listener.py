"""The agent's Unix socket, where templates and runners report.

Whoever connects says a one-time token that the agent handed out; nobody else gets further.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from pathlib import Path

from rekindle.exception import StartError
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.wire.frames import FrameError, receive_first
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A process that connected has this long to say who it is.
HELLO_TIMEOUT_S = 10.0


class RunnerListener:
    """Listens, and gives each newcomer to whoever expects it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._expected: dict[str, asyncio.Future[Channel]] = {}
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._greetings: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Listen at ``path``, for this user only."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o600)
        listener.listen(256)
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    def expect(self) -> tuple[str, asyncio.Future[Channel]]:
        """A token to hand out, and the channel of the process that will say it."""
        token = secrets.token_urlsafe(18)
        future: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._expected[token] = future
        future.add_done_callback(lambda _future: self._expected.pop(token, None))
        return token, future

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, *self._greetings, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self.path.unlink(missing_ok=True)
        for future in list(self._expected.values()):
            if not future.done():
                future.set_exception(StartError("the agent is stopping"))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _address = await loop.sock_accept(listener)
            greeting = asyncio.create_task(self._greet(sock))
            self._greetings.add(greeting)
            greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, sock: socket.socket) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                hello = await receive_first(sock)
        except (TimeoutError, FrameError, ValueError, OSError) as error:
            log.warning("stranger", extra=kv(reason=str(error) or type(error).__name__))
            sock.close()
            return
        future = self._expected.get(str(hello.get("token")))
        if future is None or future.done():
            log.warning("unexpected hello")
            with contextlib.suppress(OSError):
                sock.close()
            return
        future.set_result(Channel(sock))
