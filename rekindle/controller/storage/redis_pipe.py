"""A connection to Redis for short operations, all of them on their way at once.

For what redis_link.py is too slow for: no task and no pool, the reply goes to a callback. What was
on its way when the connection broke is sent again, as ``again`` says, once the server is back.
Knows nothing of what is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hiredis
from redis.asyncio.connection import parse_url

from rekindle.controller.storage.redis_link import REFUSES_FOR_NOW, refused
from rekindle.exception import ServiceError
from rekindle.wire.logs import kv
from rekindle.wire.resp import Refusal, packed

log = logging.getLogger(__name__)

_DELAY_S = 0.1
_CONNECT_S = 5.0

#: Gets the reply: bytes, an integer, a list, or the ServiceError that there was none.
Answer = Callable[[Any], None]
#: Makes what is sent when a reply was lost.
Again = Callable[[], bytes]


class Command(NamedTuple):
    """A command on its way."""

    sent: bytes
    #: None for what a new connection begins with.
    again: Again | None
    answer: Answer
    since: float


class Listening(NamedTuple):
    """What is published, and is to be heard on the same connection."""

    #: A pattern of channels.
    pattern: bytes
    #: Gets channel and message.
    on_message: Callable[[bytes, bytes], None]
    #: Called when the server is back: what was published meanwhile was not heard.
    on_return: Callable[[], None]


class RedisPipe(asyncio.Protocol):
    """One connection, opened again when it breaks. For its loop alone.

    ``on_pressure`` is called with True when more was written than the server takes, and with False
    when that is over.
    """

    def __init__(
        self,
        url: str,
        patience_s: float,
        prepare: Sequence[bytes],
        on_pressure: Callable[[bool], None],
        listening: Listening,
    ) -> None:
        """``prepare``: commands that every new connection begins with."""
        self._url = url
        self._patience_s = patience_s
        self._prepare = prepare
        self._on_pressure = on_pressure
        self._listening = listening
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=Refusal)
        self._waiting: deque[Command] = deque()
        #: Sent when a connection is there.
        self._unsent: deque[Command] = deque()
        self._ready = False
        self._closing = False
        self._opening: asyncio.Task[None] | None = None
        self._lost_at: float | None = None

    async def open(self) -> None:
        """Connect. Raises ServiceError when the server is not there within the patience;
        RefusedError at once, where it is and refuses for good what a connection begins with."""
        await self._open()

    def send(self, sent: bytes, again: Again, answer: Answer) -> None:
        """Send a command; ``again`` makes what to send where its reply is lost."""
        self._write(Command(sent, again, answer, time.monotonic()))

    def _write(self, command: Command) -> None:
        if self._ready and self._transport is not None:
            self._waiting.append(command)
            self._transport.write(command.sent)
        elif self._closing:
            command.answer(ServiceError("the controller ends; send the request again"))
        else:
            self._unsent.append(command)

    async def close(self) -> None:
        """No more."""
        self._closing = True
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.close()
        self._fail_all("the controller ends")

    # ---- the connection ------------------------------------------------------------------------

    async def _open(self) -> None:
        options: dict[str, Any] = dict(parse_url(self._url))
        began = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await self._connect(options)
                    await self._greet(options)
                break
            except (OSError, TimeoutError, Refusal, ServiceError) as error:
                self._drop()
                if isinstance(error, Refusal) and self._lost_at is None and not _will_pass(error):
                    raise refused(error) from error
                waited = time.monotonic() - began
                reason = f"Redis has not answered for {waited:.1f} s ({error})"
                if waited > self._patience_s:
                    self._fail_all(reason)
                    if self._lost_at is None:
                        raise ServiceError(f"{reason}; see that it runs") from error
                    began = time.monotonic()
                await asyncio.sleep(_DELAY_S)
        returned, self._lost_at = self._lost_at is not None, None
        self._ready = True
        unsent, self._unsent = self._unsent, deque()
        for command in unsent:
            self._write(command)
        if returned:
            self._listening.on_return()

    async def _connect(self, options: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=Refusal)
        if "path" in options:
            await loop.create_unix_connection(lambda: self, options["path"])
            return
        context = None
        if self._url.startswith("rediss:"):
            context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
            if options.get("ssl_certfile"):
                context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
            if str(options.get("ssl_cert_reqs", "required")) == "none":
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        host, port = options.get("host", "localhost"), int(options.get("port", 6379))
        await loop.create_connection(lambda: self, host, port, ssl=context)

    async def _greet(self, options: dict[str, Any]) -> None:
        commands = [
            packed(b"HELLO", b"3"),  # what is published comes between
            *self._prepare,
            packed(b"PSUBSCRIBE", self._listening.pattern),
        ]
        if options.get("db"):
            commands.insert(0, packed(b"SELECT", str(options["db"]).encode()))
        if options.get("password"):
            names = [options["username"]] if options.get("username") else []
            words = [str(word).encode() for word in (*names, options["password"])]
            commands.insert(0, packed(b"AUTH", *words))
        last: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(reply: Any) -> None:
            if isinstance(reply, Exception) and not last.done():
                last.set_exception(reply)
            elif not self._waiting and not last.done():
                last.set_result(None)

        assert self._transport is not None
        now = time.monotonic()
        for sent in commands:
            self._waiting.append(Command(sent, None, answered, now))
            self._transport.write(sent)
        await last

    def _drop(self) -> None:
        transport, self._transport, self._ready = self._transport, None, False
        self._waiting = deque(one for one in self._waiting if one.again is not None)
        if transport is not None:
            transport.abort()

    def _fail_all(self, reason: str) -> None:
        waiting = [*self._waiting, *self._unsent]
        self._waiting.clear()
        self._unsent.clear()
        for command in waiting:
            command.answer(ServiceError(f"{reason}; send the request again when it is back"))

    # ---- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ready:
            for command in list(self._waiting):
                if command.again is None:
                    command.answer(ServiceError(f"the connection broke: {exc}"))
            return
        self._ready, self._transport = False, None
        if self._closing:
            return
        self._lost_at = time.monotonic()
        log.warning("redis is away", extra=kv(reason=exc or "it closed the connection"))
        # In their order, before what was never sent.
        self._unsent.extendleft(
            command._replace(sent=command.again())
            for command in reversed(self._waiting)
            if command.again is not None
        )
        self._waiting.clear()
        self._on_pressure(False)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            if isinstance(reply, hiredis.PushNotification):
                if reply[0] == b"pmessage":
                    self._listening.on_message(reply[2], reply[3])
                if reply[0] != b"psubscribe":  # the answer to that command
                    continue
            if not self._waiting:
                return  # the connection was given up
            command = self._waiting.popleft()
            if isinstance(reply, Refusal) and command.again is not None:
                self._refused(command, reply)
            else:
                command.answer(reply)

    def pause_writing(self) -> None:
        self._on_pressure(True)

    def resume_writing(self) -> None:
        self._on_pressure(False)

    def _refused(self, command: Command, error: Refusal) -> None:
        """An error reply: what will pass is sent again for a while; it has changed nothing."""
        if "NOSCRIPT" in str(error):  # somebody has flushed them
            for words in self._prepare:
                self._write(Command(words, None, lambda _: None, time.monotonic()))
            self._write(command)
        elif (
            REFUSES_FOR_NOW.search(str(error))
            and time.monotonic() - command.since < self._patience_s
        ):
            loop = asyncio.get_running_loop()
            loop.call_later(_DELAY_S, self._write, command)
        else:
            with contextlib.suppress(asyncio.InvalidStateError):
                command.answer(refused(error))


def _will_pass(error: Refusal) -> bool:
    """Whether a connection may be made later: the server reads its file, or has too many."""
    text = str(error)
    return (
        text.startswith(("LOADING", "ERR max number of clients"))
        or REFUSES_FOR_NOW.search(text) is not None
    )
