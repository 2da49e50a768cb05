"""Whether a Redis server has written what it answered.

A server answers a command also where its write to the append-only file has just failed (the disk is
full), and only refuses the next ones. So what is to be durable is followed by a PING on a
connection that was there before: one that is answered says that all before it was written, since a
server with unwritten changes refuses PING too; and the connection has not outlived the server.
One PING is for all who ask meanwhile. Knows nothing of what is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import redis.exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

#: A connection that was not used for so long may have been closed by the server.
_IDLE_S = 10.0

#: The connection that an answer is to come on.
_Waiting = tuple[AbstractConnection, "asyncio.Future[None]"]


class NotOnDiskError(redis.exceptions.ResponseError):
    """What was answered may not be on disk."""


class Confirmations:
    """Asks, on a connection of its own."""

    def __init__(self, pool: ConnectionPool) -> None:
        """``pool``: how to connect; no connection is taken from it."""
        self._pool = pool
        #: Why what is written cannot be relied on, as somebody else has found; empty: it can.
        self.unsafe: Callable[[], str] = str
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._used = 0.0
        self._waiting: list[_Waiting] = []
        self._round: asyncio.Task[None] | None = None

    async def begin(self) -> AbstractConnection:
        """Before the write: what ``confirm`` is to be given. Raises redis-py's errors, OSError."""
        if self._connection is not None and time.monotonic() - self._used < _IDLE_S:
            return self._connection
        async with self._connecting:
            connection = self._connection
            if connection is not None and time.monotonic() - self._used >= _IDLE_S:
                with contextlib.suppress(redis.exceptions.RedisError, OSError):
                    await self._answer(connection)  # one that has ended is dropped
            if self._connection is None:
                connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                await connection.connect()
                self._connection, self._used = connection, time.monotonic()
            return self._connection

    async def confirm(self, begun: AbstractConnection) -> None:
        """Return when the server has written all that it answered since ``begin``.

        Raises redis-py's errors, NotOnDiskError and OSError: then the write is to be sent again.
        """
        await self._answer(begun)
        if reason := self.unsafe():
            raise NotOnDiskError(reason)

    def _answer(self, begun: AbstractConnection) -> Awaitable[None]:
        """That of a PING which is sent from now on, on this connection."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if begun is not self._connection:
            answer.set_exception(_away())
            return answer
        self._waiting.append((begun, answer))
        if self._round is None:
            self._round = asyncio.create_task(self._ask())
        return answer

    async def close(self) -> None:
        """No more."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)
        self._give_up(self._waiting)  # it may not have begun
        await self._drop()

    async def _ask(self) -> None:
        """For those who wait, then for those who came meanwhile."""
        asked: list[_Waiting] = []
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                connection, error = self._connection, await self._ping()
                for begun, answer in asked:
                    if answer.done():  # its task was cancelled
                        continue
                    if begun is not connection:
                        answer.set_exception(_away())
                    elif error is not None:
                        answer.set_exception(error)
                    else:
                        answer.set_result(None)
        finally:
            self._round = None
            self._give_up([*asked, *self._waiting])  # all done, unless this was cancelled

    def _give_up(self, waiting: list[_Waiting]) -> None:
        for _, answer in waiting:
            if not answer.done():
                answer.set_exception(_away())

    async def _ping(self) -> Exception | None:
        connection = self._connection
        if connection is None:
            return _away()
        self._used = time.monotonic()
        try:
            await connection.send_command("PING")
            await connection.read_response()
        except redis.exceptions.ConnectionError as error:
            await self._drop()
            return error
        except redis.exceptions.ResponseError as error:  # it is there, and refuses
            return error
        except (redis.exceptions.RedisError, OSError) as error:
            await self._drop()
            return error
        return None

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect()


def _away() -> redis.exceptions.ConnectionError:
    return redis.exceptions.ConnectionError("the server was away meanwhile")
