"""One connection to Redis for all tasks of a loop that use one object; replies come in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any

from rekindle.sdk.objects.aio_socket import READ_BYTES, AioSocket
from rekindle.sdk.objects.direct import Gone
from rekindle.sdk.objects.exchange import Exchange, Plainly, Way, refused, some
from rekindle.wire.object_frames import Op, Reply, Request
from rekindle.wire.resp import Incomplete, Refusal, parsed
from rekindle.wire.usercode import came_by_signal

_CONNECT_S = 2.0
#: Of what is put back: no request has it.
_SLOT_BACK = (1 << 32) - 1


class AioDirect:
    """For one loop and one object."""

    def __init__(self, session: bytes) -> None:
        self._session = session
        #: The one that there is.
        self.connection: AioSocket | None = None
        self._opening = asyncio.Lock()
        self._buffer = bytearray()
        #: In the order of the requests.
        self._waiting: deque[tuple[asyncio.Future[Any], Exchange]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether no one waits for a reply."""
        return not self._waiting

    async def open(self, way: Way) -> None:
        """Connect. Raises OSError, Gone, Stranger."""
        async with self._opening:
            if self.connection is not None:
                return
            loop = asyncio.get_running_loop()
            sock, address = way.socket()
            try:
                sock.setblocking(False)
                async with asyncio.timeout(_CONNECT_S):
                    await loop.sock_connect(sock, address)
                    for words in way.greeting:
                        await loop.sock_sendall(sock, words)
                        await _welcomed(loop, sock)
            except BaseException:
                sock.close()
                raise
            self._buffer = bytearray()
            self.connection = AioSocket(sock, self._received, self._ended)
        self._opening = asyncio.Lock()  # one that was waited for would keep its loop alive

    async def ask(self, way: Way, request: Request, slot: int, number: int) -> Any:
        """What the server says, for settled(). Raises OSError, Gone, ValueError."""
        said = await self._exchange(way, request, slot, number, plain=False)
        if isinstance(said, Plainly):
            if request.op == Op.QUEUE_GET:
                way.left_some()
            said = await self._exchange(way, request, slot, number, plain=True)
        return said

    async def _exchange(
        self, way: Way, request: Request, slot: int, number: int, *, plain: bool
    ) -> object:
        exchange = way.exchange(request, self._session, slot, number, plain=plain)
        return await self._queued(exchange)

    def undo(self, way: Way, back: Request, number: int) -> asyncio.Future[Any]:
        """Have put back what the get of that number takes. Raises OSError, Gone."""
        return self._queued(way.exchange(back, self._session, _SLOT_BACK, number, plain=True))

    def _queued(self, exchange: Exchange) -> asyncio.Future[Any]:
        """Send it. Raises OSError, Gone."""
        if self.connection is None:  # whose replies come on the next one are not this one's
            raise Gone("Redis closed the connection")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.append((future, exchange))
            self._send(exchange.data)
            for piece in exchange.more:
                self._send(piece)
        except BaseException as error:  # a signal's, or it has broken: replies come in order
            future.cancel()  # nobody waits for it
            self.broke(Gone(f"it was cut by {error!r}"))
            raise
        return future

    def count(self, way: Way, request: Request, reply: Reply) -> None:
        """Note what was done."""
        words = way.count(request, reply)
        if words:
            self._send_unanswered(Exchange(words, _ignored, replies=words.count(b"HINCRBY")))

    def _send_unanswered(self, exchange: Exchange) -> None:
        """Send something for whose reply no one waits."""
        if self.connection is None:
            return
        with contextlib.suppress(OSError, Gone):  # who asks next finds out
            said = self._queued(exchange)
            said.add_done_callback(lambda done: done.cancelled() or done.exception())

    # ---- the connection ------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self.connection is None:
            raise Gone("Redis closed the connection")
        self.connection.send(data)

    def _received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._replies()
        except ValueError as error:
            self.broke(error)
            if came_by_signal(error):
                raise

    def _ended(self, error: OSError | None) -> None:
        self.broke(error or Gone("Redis closed the connection"))

    def _replies(self) -> None:
        buffer, at = self._buffer, 0
        while self._waiting and at < len(buffer):
            future, (_, finish, replies, mark, _, _) = self._waiting[0]
            came: Any
            if mark:
                end = buffer.find(mark, at)
                if end < 0:
                    break
                came, at = bytes(buffer[at:end]), end + len(mark)
            else:
                found = some(buffer, replies, at)
                if found is None:
                    break
                came, at = found
            if not future.done():
                future.set_result(finish(came))
            self._waiting.popleft()
        del buffer[:at]

    def hang_up(self, connection: AioSocket | None) -> None:
        """Close it, unless it was replaced by another one meanwhile."""
        if connection is self.connection:
            self.broke(Gone("it was closed here"))

    def broke(self, error: Exception) -> None:
        """Close the connection; who waits for a reply asks again."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        connection.close()
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(Gone(str(error)))


def _ignored(_: object) -> object:
    return None


async def _welcomed(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    data = bytearray()
    while True:
        piece = await loop.sock_recv(sock, READ_BYTES)
        if not piece:
            raise Gone("Redis closed the connection")
        data += piece
        try:
            said, _ = parsed(data)
        except Incomplete:
            continue
        if isinstance(said, Refusal):
            refused(said)
            raise Gone(str(said))
        return
