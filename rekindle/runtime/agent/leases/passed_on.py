"""Programs in images: their requests to the controller go by their agent (wire/passed_on.py).

What a program may ask is the controller's to say, by the token that the program shows; a connection
is taken once the controller has. Blobs are put and got here: an image sees no store. What a
connection asked for ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import AuthError, Error, InternalFailure, InvalidError
from rekindle.runtime.agent.inputs.blobs import Blobs
from rekindle.runtime.agent.uplink import LostError, Uplink
from rekindle.wire import blobs, passed_on
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frame_streams import read_frame
from rekindle.wire.frames import Header
from rekindle.wire.logs import kv
from rekindle.wire.version import PROTOCOL, __version__

log = logging.getLogger(__name__)

#: Blobs of programs that the agent has in its memory at a time.
_BLOBS_AT_ONCE = 4


class PassedOn:
    """All such connections of an agent."""

    def __init__(self, uplink: Uplink, store: Blobs) -> None:
        self._uplink = uplink
        self._store = store
        self._tasks = BackgroundTasks()
        self._blobs = asyncio.Semaphore(_BLOBS_AT_ONCE)

    def take(self, sock: socket.socket, token: str) -> None:
        """Serve a connection until it ends."""
        self._tasks.spawn(self._serve(sock, token))

    async def close(self) -> None:
        """Hang up on all."""
        await self._tasks.cancel()

    async def _serve(self, sock: socket.socket, token: str) -> None:
        reader, writer = await asyncio.open_connection(sock=sock)
        requests: dict[int, asyncio.Task[None]] = {}
        try:
            await self._welcome(token)
            while True:
                header, body = await read_frame(reader, passed_on.MAX_BODY_BYTES)
                number = header.get("id")
                if not isinstance(number, int) or number <= passed_on.ALL:
                    raise InvalidError("a request has no number")
                if "cancel" in header:
                    if number in requests:
                        requests[number].cancel()
                    continue
                if number in requests:  # nobody could end the one that has it
                    raise InvalidError(f"two requests have the number {number}")
                task = asyncio.create_task(self._answer(writer, number, header, body, token))
                requests[number] = task
                task.add_done_callback(lambda _done, number=number: requests.pop(number, None))  # type: ignore[misc]
        except (Error, ValueError) as error:
            shown = error if isinstance(error, Error) else InvalidError(f"not understood: {error}")
            log.warning("program refused", extra=kv(reason=shown))
            writer.write(passed_on.failed(passed_on.ALL, shown))
        except (OSError, EOFError, LostError):
            pass  # it has gone, or nobody can be asked: it comes again
        finally:
            for one in list(requests.values()):
                one.cancel()
            await asyncio.gather(*requests.values(), return_exceptions=True)
            writer.close()

    async def _welcome(self, token: str) -> None:
        """Raises AuthError where the controller does not know the token, LostError."""
        hello = pb.HelloRequest(protocol=PROTOCOL, version=__version__).SerializeToString()
        async with contextlib.aclosing(self._uplink.pass_on("Hello", hello, token)) as replies:
            async for _reply in replies:
                return
        raise AuthError("the controller does not answer to this token")

    async def _answer(
        self, writer: asyncio.StreamWriter, number: int, header: Header, body: bytes, token: str
    ) -> None:
        try:
            if "method" in header:
                replies = self._uplink.pass_on(str(header["method"]), body, token)
                async with contextlib.aclosing(replies):
                    async for reply in replies:
                        writer.write(passed_on.frame(number, reply, reply=True))
                        await writer.drain()
            else:
                await self._blob(writer, number, header, body)
            writer.write(passed_on.frame(number, end=True))
        except Error as error:
            writer.write(passed_on.failed(number, error))
        except LostError:
            writer.write(passed_on.frame(number, lost=True))
        except OSError:
            return  # nobody waits for it any more
        except Exception as error:  # it is this request's alone
            log.exception("a request failed", extra=kv(method=header.get("method", "")))
            told = InternalFailure(f"{type(error).__name__}: {error}; see agent.log")
            writer.write(passed_on.failed(number, told))

    async def _blob(
        self, writer: asyncio.StreamWriter, number: int, header: Header, body: bytes
    ) -> None:
        """Put or get one. Raises Error."""
        async with self._blobs:
            if "put" in header:
                key = str(header["put"])
                if blobs.size_of(key) != len(body):
                    raise InvalidError(f"a blob of {len(body)} bytes is not that of {key}")
                await asyncio.to_thread(lambda: self._store.store().put(key, body))
            elif "get" in header:
                key = str(header["get"])
                found = await asyncio.to_thread(lambda: self._store.store().get(key))
                writer.write(passed_on.frame(number, found, reply=True))
                await writer.drain()
            else:
                raise InvalidError("a request asks for nothing")
