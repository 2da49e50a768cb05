"""gRPC for a forked child: a process of its own that makes the requests.

gRPC's threads are not forked, and a child that uses what it inherited of them hangs. So a child of
a program that has used rekindle starts this module as a process and speaks to it over a socket
pair; ``RelayStub`` looks like the generated stub to the client. The relay ends with its child.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Generator
from functools import partial
from typing import Any

import grpc
import grpc.aio

from rekindle.exception import ConnectionError, InternalFailure
from rekindle.sdk.connection.channel import open_channel
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc
from rekindle.wire.errors import ERROR_TYPE_KEY

log = logging.getLogger(__name__)

_LENGTH = struct.Struct("!I")
_METHODS = pb.DESCRIPTOR.services_by_name["Controller"].methods_by_name
#: What the child gets of a call: ("reply", bytes), ("end",) or ("error", code, details, metadata).
_Event = tuple[Any, ...]
_KINDS = ("reply", "end", "error")
#: Of an error that is not about the connection: it is no reason to ask again.
_OURS = ((ERROR_TYPE_KEY, InternalFailure.__name__),)


async def _read(reader: asyncio.StreamReader) -> Any:
    """The next frame. Both ends are ours, so pickle is no risk. Raises IncompleteReadError."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


def _write(writer: asyncio.StreamWriter, frame: Any) -> None:
    data = pickle.dumps(frame, protocol=5)
    writer.write(_LENGTH.pack(len(data)) + data)


# ---- in the forked child -----------------------------------------------------------------------


class RelayStub:
    """Stands for ``ControllerStub``; to be made and used on one event loop."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._calls: dict[int, asyncio.Queue[_Event]] = {}
        self._last = 0
        self._opening: asyncio.Task[asyncio.StreamWriter] | None = None
        self._pump: asyncio.Task[None] | None = None

    def __getattr__(self, method: str) -> Any:
        if method not in _METHODS:
            raise AttributeError(method)

        def call(request: Any, metadata: tuple[tuple[str, str], ...]) -> RelayCall:
            return RelayCall(self, method, request, metadata)

        return call

    async def _open(self) -> asyncio.StreamWriter:
        ours, theirs = socket.socketpair()
        with theirs:
            _spawn(theirs.fileno(), self._target)
        reader, writer = await asyncio.open_connection(sock=ours)
        self._pump = asyncio.create_task(self._deliver(reader, writer))
        return writer

    async def send(self, frame: Any) -> None:
        """Send a frame, starting the relay where there is none yet. Raises AioRpcError where none
        can be started just now; the next frame tries again."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        opening = self._opening
        try:
            writer = await asyncio.shield(opening)
        except OSError as error:
            if self._opening is opening:
                self._opening = None
            why = f"the relay process cannot be started: {error}"
            raise _rpc_error("UNAVAILABLE", why, ()) from error
        _write(writer, frame)
        await writer.drain()

    async def _deliver(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                number, kind, *rest = await _read(reader)
                if kind not in _KINDS:
                    raise ValueError(f"it sent {kind!r}")
                if number in self._calls:
                    self._calls[number].put_nowait((kind, *rest))
        except (asyncio.IncompleteReadError, OSError):
            self._ended("the relay process has ended")
        except Exception as error:
            log.exception("the relay process is not understood")
            why = f"the relay process is not understood: {_shown(error)}"
            self._ended(why, "INTERNAL", _OURS)
        finally:
            writer.close()  # it ends with this

    def _ended(self, why: str, code: str = "UNAVAILABLE", metadata: Any = ()) -> None:
        for events in self._calls.values():
            events.put_nowait(("error", code, why, metadata))
        self._opening = None  # the next call starts another

    def begin(self) -> tuple[int, asyncio.Queue[_Event]]:
        """A number for a call and where its events will come."""
        self._last += 1
        events: asyncio.Queue[_Event] = asyncio.Queue()
        self._calls[self._last] = events
        return self._last, events

    def finish(self, number: int) -> None:
        """No more events are wanted."""
        self._calls.pop(number, None)


def _spawn(fd: int, target: str) -> None:
    command = [sys.executable, "-P", "-m", "rekindle.sdk.connection.relay", str(fd), target]
    # Ctrl-C is the child's to handle, so the relay has a session of its own.
    subprocess.Popen(command, pass_fds=(fd,), stdin=subprocess.DEVNULL, start_new_session=True)


class RelayCall:
    """A call through the relay: awaited (unary) or iterated over (stream)."""

    def __init__(
        self, stub: RelayStub, method: str, request: Any, metadata: tuple[tuple[str, str], ...]
    ) -> None:
        self._stub = stub
        self._method = method
        self._request = request
        self._metadata = metadata

    def cancel(self) -> None:
        """Ending the iteration does it."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._one().__await__()

    async def _one(self) -> Any:
        async for reply in self:
            return reply
        raise ConnectionError("the relay process gave no reply")

    async def __aiter__(self) -> AsyncIterator[Any]:
        reply_type = getattr(pb, _METHODS[self._method].output_type.name)
        number, events = self._stub.begin()
        over = False
        try:
            data = self._request.SerializeToString()
            await self._stub.send((number, "call", self._method, self._metadata, data))
            while True:
                kind, *rest = await events.get()
                if kind == "reply":
                    try:
                        reply = reply_type.FromString(rest[0])
                    except Exception as error:  # protobuf's, or there is nothing at all
                        why = f"a reply to {self._method} is not understood: {_shown(error)}"
                        raise _rpc_error("INTERNAL", why, _OURS) from error
                    yield reply
                    continue
                over = True
                if kind == "error":
                    raise _rpc_error(*rest)
                return
        finally:
            self._stub.finish(number)
            if not over:
                await self._stub.send((number, "cancel"))


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _rpc_error(code: str, details: str, metadata: Any) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*metadata)
    return grpc.aio.AioRpcError(grpc.StatusCode[code], grpc.aio.Metadata(), trailing, details, "")


# ---- the relay process -------------------------------------------------------------------------


async def serve(connection: socket.socket, target: str) -> None:
    """Make the requests that come over ``connection`` until it ends."""
    reader, writer = await asyncio.open_connection(sock=connection)
    running: dict[int, asyncio.Task[None]] = {}
    async with open_channel(target) as channel:
        stub: Any = rekindle_pb2_grpc.ControllerStub(channel)  # type: ignore[no-untyped-call]
        try:
            while True:
                number, what, *rest = await _read(reader)
                if what == "call":
                    task = asyncio.create_task(_relay(stub, writer, number, *rest))
                    running[number] = task
                    task.add_done_callback(partial(_forget, running, number))
                elif number in running:
                    running[number].cancel()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the child has ended
        except Exception:  # by the end of this process it is told
            log.exception("the program is not understood")
        for task in list(running.values()):
            task.cancel()


def _forget(running: dict[int, asyncio.Task[None]], number: int, _: asyncio.Task[None]) -> None:
    running.pop(number, None)


async def _relay(
    stub: Any, writer: asyncio.StreamWriter, number: int, method: str, metadata: Any, data: bytes
) -> None:
    call: Any = None
    try:
        request = getattr(pb, _METHODS[method].input_type.name).FromString(data)
        call = getattr(stub, method)(request, metadata=metadata)
        if hasattr(call, "__aiter__"):
            async for reply in call:
                _write(writer, (number, "reply", reply.SerializeToString()))
                await writer.drain()
        else:
            reply = await call
            _write(writer, (number, "reply", reply.SerializeToString()))
        _write(writer, (number, "end"))
    except grpc.aio.AioRpcError as error:
        trailing = tuple(error.trailing_metadata() or ())
        _write(writer, (number, "error", error.code().name, error.details() or "", trailing))
    except OSError:
        pass  # the child has ended
    except Exception as error:  # who asked is not to wait for ever
        log.exception("a request is not understood")
        why = f"the request {method!r} is not understood: {_shown(error)}"
        _write(writer, (number, "error", "INTERNAL", why, _OURS))
    finally:
        if call is not None:
            call.cancel()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]))
