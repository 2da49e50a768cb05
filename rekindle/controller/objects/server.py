"""The socket on which programs and runners reach Dict and Queue.

The first thing on a connection is the instance's token, like with every other request. Frames are
taken apart here, and what they ask for is service.py's to do.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from pathlib import Path

from rekindle.controller.listening import private_socket
from rekindle.controller.objects.attempts import Session
from rekindle.controller.objects.service import ObjectService
from rekindle.exception import AuthError, Error, InvalidError, VersionError
from rekindle.wire import object_frames as wire
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


class ObjectServer:
    """Listens; knows its connections."""

    def __init__(self, service: ObjectService, token: str) -> None:
        self._service = service
        self._token = token.encode()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._pressed = False
        service.on_pressure = self._on_pressure

    async def start(self, path: Path) -> None:
        """Read back what there is, and listen. Raises SetupError, ServiceError."""
        await self._service.start()
        with private_socket(path):
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: _Connection(self, self._service, self._token), path, backlog=512
            )

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for one in list(self._connections):
            one.close()
        await self._service.stop()

    def _on_pressure(self, on: bool) -> None:
        """Redis takes less than programs send: read no more from them for now."""
        self._pressed = on
        for one in self._connections:
            one.hold_back(on)

    def joined(self, one: _Connection) -> None:
        """A connection is there."""
        self._connections.add(one)
        if self._pressed:
            one.hold_back(True)

    def left(self, one: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(one)


class _Connection(asyncio.Protocol):
    """One program, or a thread of it."""

    def __init__(self, server: ObjectServer, service: ObjectService, token: bytes) -> None:
        self._server = server
        self._service = service
        self._token = token
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._session = Session()
        self._greeted = False
        self._welcome = False
        #: Why nothing is read: Redis takes no more, or this program does not read its replies.
        self._stopped = {"redis": False, "program": False}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.left(self)
        self._service.ended(self._session)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def hold_back(self, on: bool, why: str = "redis") -> None:
        """Read nothing while there is a reason not to."""
        if self._stopped[why] == on or self._transport is None:
            return
        self._stopped[why] = on
        if not any(self._stopped.values()):
            self._transport.resume_reading()
        elif on and sum(self._stopped.values()) == 1:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self.hold_back(True, "program")

    def resume_writing(self) -> None:
        self.hold_back(False, "program")

    # ---- frames --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            if self._welcome and not self._buffer and wire.frame_bytes(data) == len(data):
                self._frame(data)
                return
            self._buffer += data
            if not self._greeted and not self._greeting():
                return
            self._frames()
        except (Error, ValueError) as error:
            shown = error if isinstance(error, Error) else InvalidError(str(error))
            self._answer(0, wire.Status.ERROR, shown)
            self.close()

    def _greeting(self) -> bool:
        """Whether the other end has said what it speaks. Raises VersionError."""
        expected = wire.GREETING
        if not expected.startswith(self._buffer[: len(expected)]):
            raise VersionError(
                "this program and its controller are of different versions of rekindle; "
                "restart the older one"
            )
        if len(self._buffer) < len(expected):
            return False
        del self._buffer[: len(expected)]
        self._greeted = True
        return True

    def _frames(self) -> None:
        buffer, at = self._buffer, 0
        try:
            while size := wire.frame_bytes(buffer, at):
                if size > (wire.MAX_FRAME_BYTES if self._welcome else 4096):
                    raise InvalidError("a frame is too long")
                if len(buffer) - at < size:
                    break
                with memoryview(buffer) as view:
                    frame = bytes(view[at : at + size])
                at += size
                self._frame(frame)
        finally:
            del buffer[:at]

    def _frame(self, frame: bytes) -> None:
        slot, number, request = wire.parse_request(frame)
        if not self._welcome:
            self._hello(request)
            self._answer(slot, wire.Status.DONE, b"")
            return

        def answer(status: int, body: bytes | Error) -> None:
            self._answer(slot, status, body)

        self._service.handle(self._session, slot, number, request, answer)

    def _hello(self, request: wire.Request) -> None:
        if request.op != wire.Op.HELLO or len(request.partition) != wire.SESSION_BYTES:
            raise AuthError("the first request of a connection must say the token")
        if not hmac.compare_digest(request.body, self._token):
            raise AuthError("the token is wrong; send that of the instance")
        self._session.name = request.partition.hex().encode()
        self._welcome = True

    def _answer(self, slot: int, status: int, body: bytes | Error) -> None:
        transport = self._transport
        if transport is None:
            log.debug("a reply had no taker", extra=kv(session=self._session.name))
        elif isinstance(body, Error):
            transport.write(wire.pack_error(slot, body))
        else:
            transport.write(wire.pack_reply(slot, status, body))
