"""Requests of a program in an image: in frames to its agent, which passes them on.

An image has no gRPC of ours, and may have a protobuf of its own that is another: so messages are
those of wire/plain_messages.py there. What goes through a blob store the agent puts and gets, as an
image sees none of the node's folders. Standard library only; used on one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from rekindle import paths
from rekindle.exception import InternalFailure, RequestSizeError, ServiceError
from rekindle.sdk.connection.blob_offload import BlobOffload
from rekindle.sdk.connection.retrying import BrokenError
from rekindle.wire import blobs, passed_on
from rekindle.wire.frame_streams import read_frame
from rekindle.wire.frames import Header, pack_frame

#: Header and body of a frame of a request; None: the connection was lost.
_Event = tuple[Header, bytes] | None


class FramedTransport:
    """One connection for all requests, opened again by the next one when it was lost."""

    def __init__(self, instance: Path, token: str) -> None:
        self._path = str(paths.direct_socket(instance))
        self._token = token
        self._opening: asyncio.Task[_Connection] | None = None

    async def one(self, method: str, request: Any, reply: Any) -> Any:
        """See Transport."""
        found: Any = None
        async for body in self._ask({"method": method}, request.SerializeToString()):
            found = reply.FromString(body)
        if found is None:
            raise InternalFailure(f"{method} was not answered")
        return found

    async def many(self, method: str, request: Any, reply: Any) -> AsyncGenerator[Any, None]:
        """See Transport."""
        asked = self._ask({"method": method}, request.SerializeToString())
        async with contextlib.aclosing(asked):
            async for body in asked:
                yield reply.FromString(body)

    def offload(self, url: str, threshold_bytes: int) -> BlobOffload:
        """See Transport."""
        return _ByTheAgent(url, threshold_bytes, self)

    async def blob(self, said: Header, body: bytes = b"") -> bytes:
        """Have the agent put or get one. Raises what the store does, ServiceError."""
        found = b""
        try:
            async for piece in self._ask(said, body):
                found = piece
        except BrokenError:
            raise ServiceError("the agent of this node has gone") from None
        return found

    async def close(self) -> None:
        """See Transport."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        (found,) = await asyncio.gather(opening, return_exceptions=True)
        if isinstance(found, _Connection):
            await found.close()

    async def _ask(self, said: Header, body: bytes) -> AsyncGenerator[bytes, None]:
        """The bodies of the replies. Raises Error, BrokenError."""
        if len(body) > passed_on.MAX_BODY_BYTES:
            raise RequestSizeError(
                f"{len(body) >> 20} MiB are over the {passed_on.MAX_BODY_BYTES >> 20} MiB "
                f"that a function in an image can send at once; pass large data by a Volume"
            )
        connection = await self._connected()
        number, events = connection.begin()
        over = False
        try:
            await connection.send(passed_on.frame(number, body, **said))
            while True:
                event = await events.get()
                if event is None or "lost" in event[0]:
                    over = True
                    raise BrokenError
                header, found = event
                if "reply" in header:
                    yield found
                    continue
                over = True
                if error := passed_on.error_in(header):
                    raise error
                return
        except OSError:
            over = True
            raise BrokenError from None
        finally:
            connection.finish(number, cancel=not over)

    async def _connected(self) -> _Connection:
        """The connection; raises BrokenError where nobody takes it."""
        if self._opening is None or (self._opening.done() and _is_over(self._opening)):
            self._opening = asyncio.create_task(_Connection.open(self._path, self._token))
        try:
            return await asyncio.shield(self._opening)
        except OSError:
            raise BrokenError from None


def _is_over(opening: asyncio.Task[_Connection]) -> bool:
    return opening.cancelled() or bool(opening.exception()) or opening.result().over


class _Connection:
    """One connection, until it is lost."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.over = False
        self._writer = writer
        self._numbers = itertools.count(1)
        self._events: dict[int, asyncio.Queue[_Event]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def open(cls, path: str, token: str) -> _Connection:
        """To an agent. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(pack_frame({"requests": True, "token": token}))
        return cls(reader, writer)

    def begin(self) -> tuple[int, asyncio.Queue[_Event]]:
        """A number for a request, and where its events come."""
        number, events = next(self._numbers), asyncio.Queue[_Event]()
        self._events[number] = events
        if self.over:
            events.put_nowait(None)
        return number, events

    async def send(self, frame: bytes) -> None:
        """Raises OSError."""
        self._writer.write(frame)
        await self._writer.drain()

    def finish(self, number: int, *, cancel: bool) -> None:
        """No more events of a request are wanted."""
        del self._events[number]
        if cancel and not self.over:
            self._writer.write(passed_on.frame(number, cancel=True))

    async def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        last: _Event = None
        try:
            while True:
                header, body = await read_frame(reader, passed_on.MAX_BODY_BYTES)
                number = header.get("id")
                if number == passed_on.ALL:  # why the agent hangs up
                    last = header, b""
                elif not isinstance(number, int):
                    raise ValueError("a frame of no request")
                elif number in self._events:
                    self._events[number].put_nowait((header, body))
        except (OSError, EOFError):
            pass  # it is over; who waits is told
        except ValueError as error:
            why = InternalFailure(f"what the agent of this node sends is not understood: {error}")
            last = {"error": [type(why).__name__, str(why)]}, b""
        finally:
            self.over = True
            self._writer.close()
            for events in self._events.values():
                events.put_nowait(last)


class _ByTheAgent(BlobOffload):
    """A blob store that the agent has, and this program has not."""

    def __init__(self, url: str, threshold_bytes: int, transport: FramedTransport) -> None:
        super().__init__(url, threshold_bytes)
        self._transport = transport

    async def put(self, call_id: str, index: int, payload: bytes) -> str:
        """Put a payload; its key. Raises ServiceError."""
        key = blobs.new_key(call_id, index, payload)
        await self._transport.blob({"put": key}, payload)
        return key

    async def get(self, key: str) -> bytes:
        """What is there. Raises InternalFailure, ServiceError."""
        return await self._transport.blob({"get": key})
