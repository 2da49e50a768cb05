"""The socket on which short programs make requests: the service of gRPC, without gRPC.

What a request is and does is the contract's and service.py's; here frames become messages and
replies become frames (wire/request_frames.py). The first frame of a connection is the instance's
token. What a connection asked for ends with it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import json_format

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller.listening import private_socket
from rekindle.exception import AuthError, Error, InternalFailure, InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import request_frames as wire
from rekindle.wire.errors import from_status
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_METHODS = pb.DESCRIPTOR.services_by_name["Controller"].methods_by_name
_READ_BYTES = 1 << 16


class _Context:
    """What the handlers of the service are given: they use nothing but this of gRPC's."""

    async def abort(
        self, code: grpc.StatusCode, details: str, metadata: tuple[tuple[str, str], ...]
    ) -> NoReturn:
        """Raise what the status means."""
        raise from_status(code, details, metadata)


class RequestServer:
    """Listens; knows its connections. ``service``: its handlers, by the names of the contract."""

    def __init__(self, service: object, token: str) -> None:
        self._service = service
        self._token = token
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen. Raises SetupError."""
        with private_socket(path):
            self._server = await asyncio.start_unix_server(self._connected, path, backlog=512)

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for one in self._connections:
            one.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        await _Connection(self._service, self._token, writer).serve(reader)


class _Connection:
    """One program."""

    def __init__(self, service: object, token: str, writer: asyncio.StreamWriter) -> None:
        self._service = service
        self._token = token
        self._writer = writer
        self._welcome = False
        self._requests = BackgroundTasks()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Answer until the program ends the connection."""
        buffer = bytearray()
        try:
            while data := await reader.read(_READ_BYTES):
                buffer += data
                for frame in wire.taken(buffer):
                    self._take(frame)
        except (Error, ValueError) as error:
            shown = error if isinstance(error, Error) else InvalidError(str(error))
            self._writer.write(wire.error_frame(0, shown))
        except OSError:
            pass  # it has gone without a word
        finally:
            await self._requests.cancel()
            self._writer.close()

    def _take(self, frame: wire.Frame) -> None:
        if not self._welcome:
            given = frame.get("token")
            if not isinstance(given, str) or not hmac.compare_digest(
                given.encode(), self._token.encode()
            ):
                raise AuthError("the token is wrong; send that of the instance first")
            self._welcome = True
            return
        number = frame.get("id")
        if not isinstance(number, int):
            raise InvalidError("a request has no number")
        self._requests.spawn(self._answer(number, frame), "answer a request")

    async def _answer(self, number: int, frame: wire.Frame) -> None:
        try:
            method, request = _parsed(frame)
            replies = getattr(self._service, method)(request, _Context())
            if hasattr(replies, "__aiter__"):
                async for reply in replies:
                    self._writer.write(_reply(number, reply))
                    await self._writer.drain()
            else:
                self._writer.write(_reply(number, await replies))
            self._writer.write(wire.pack({"id": number, "end": True}))
        except Error as error:
            self._writer.write(wire.error_frame(number, error))
        except ConnectionError:
            return  # nobody waits for it any more
        except Exception as error:  # as gRPC does: it is this request's alone
            log.exception("a request failed", extra=kv(method=frame.get("method", "")))
            told = InternalFailure(f"{type(error).__name__}: {error}; see controller.log")
            self._writer.write(wire.error_frame(number, told))


def _parsed(frame: wire.Frame) -> tuple[str, Any]:
    """Method and message of a request. Raises InvalidError."""
    method = frame.get("method")
    known = _METHODS.get(method) if isinstance(method, str) else None
    if known is None:
        raise InvalidError(f"there is no request {method!r}")
    message = getattr(pb, known.input_type.name)()
    try:
        json_format.ParseDict(frame.get("request", {}), message)
    except json_format.ParseError as error:
        raise InvalidError(f"{method}: {error}") from error
    return known.name, message


def _reply(number: int, message: Any) -> bytes:
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return wire.pack({"id": number, "reply": fields})
