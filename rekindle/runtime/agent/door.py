"""The agent's Unix socket, where templates and runners report, and the channels that come of it.

Whoever connects says a one-time token that the agent handed out; nobody else gets further.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from rekindle.exception import StartError
from rekindle.wire.frames import (
    FrameError,
    Header,
    pack_frame,
    read_frame,
    receive_first,
    send_with_fds,
)
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_UCRED = struct.Struct("3i")
#: A process that connected has this long to say who it is.
HELLO_TIMEOUT_S = 10.0
#: The stream reader's buffer; larger bodies pass through it piece by piece.
_READ_LIMIT = 1 << 20


class Channel:
    """A connected template or runner."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        #: The process as this agent sees it, from the kernel.
        self.pid: int = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )[0]
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, first: Header | None = None, fds: Sequence[int] = ()) -> None:
        """Send ``first`` with descriptors, then go on as a stream."""
        if first is not None:
            send_with_fds(self._sock, first, fds)
        self._reader, self._writer = await asyncio.open_unix_connection(
            sock=self._sock, limit=_READ_LIMIT
        )

    def send(self, header: Header, body: bytes = b"") -> None:
        """Queue one frame. Raises FrameError when the process is known to be gone."""
        if self._writer is None or self._writer.is_closing():
            raise FrameError("the process closed the connection")
        self._writer.write(pack_frame(header, len(body)))
        if body:
            self._writer.write(body)

    async def receive(self) -> tuple[Header, bytes]:
        """The next frame. Raises FrameError at the end."""
        if self._reader is None:
            raise FrameError("the channel is not open")
        return await read_frame(self._reader)

    def close(self) -> None:
        """Close; the process reads the end of its stream."""
        if self._writer is not None:
            self._writer.close()
        else:
            self._sock.close()


class Door:
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
