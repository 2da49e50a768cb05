"""The connection to Redis: scripts by digest, and patience with a server that is away.

Knows nothing of what is stored.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple, TypeVar

import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rekindle.controller.storage.confirmations import Confirmations, NotOnDiskError
from rekindle.exception import InvalidError, ServiceError
from rekindle.shown_url import without_password
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

T = TypeVar("T")
Command = Sequence[Any]

#: Errors after which the same command may be sent again once the server is back. Every command
#: and script of the store gives the same state when it runs twice.
_AWAY = (
    redis.exceptions.ConnectionError,  # BusyLoadingError too: the append-only file is being read
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,  # their text lacks the word that REFUSES_FOR_NOW has
    redis.exceptions.MasterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    NotOnDiskError,
    ConnectionError,
    TimeoutError,
    OSError,
)
#: Refusals that end when something outside does: a full disk, full memory, lost replicas, another
#: server being promoted, a replica that has lost its primary, a script that takes long.
#: A script that is refused has changed nothing; its error wraps the word.
REFUSES_FOR_NOW = re.compile(r"\b(?:MISCONF|OOM|NOREPLICAS|READONLY|MASTERDOWN|BUSY)\b")
#: Where in a script it was refused: ours to know, not an operator's.
_PLACE_IN_SCRIPT = re.compile(r"\s*script: [^:]*?on @user_script:\d+\.?")
#: The patience of what must be done, however long the server is away.
FOREVER = 0.0
_FIRST_DELAY_S = 0.02
_LONGEST_DELAY_S = 0.5
#: Keys that are looked through at once.
_SCAN = 256
#: What Redis has not taken for so long is worth telling who waits for it.
TELL_AFTER_S = 3.0


#: Of a value that a server may not take: the least that it can be told to take at most.
_LARGE_BYTES = 1 << 20
_MOST_OF_A_VALUE = "proto-max-bulk-len"
#: What a server answers to a larger one before it hangs up; who still sends may not get to read it.
_TOO_LARGE = "invalid bulk length"


#: Of a user's rights; inside of a script, with no type of error of its own.
_NOT_PERMITTED = re.compile(r"NOPERM|[Nn]o permissions|ACL failure|user executing the script")
#: Refusals whose cause is what lies there: of another kind, no number, nothing of a queue's.
_NOT_AS_EXPECTED = re.compile(r"WRONGTYPE|NOGROUP|not an integer|out of range|user_script")


class RefusedError(ServiceError):
    """What a server will not take, however often it is sent."""

    @property
    def is_of_damage(self) -> bool:
        """Whether what lies in Redis is not what was put there."""
        return _NOT_AS_EXPECTED.search(f"{self} {self.__cause__}") is not None


class NotPermittedError(RefusedError):
    """What a server does not let the user do that this controller is there."""

    @property
    def is_of_damage(self) -> bool:
        return False


def refused(error: object) -> RefusedError:
    """What is raised for an error reply that does not pass."""
    said = f"Redis refused a command: {_text(error)}"
    if isinstance(error, redis.exceptions.NoPermissionError) or _NOT_PERMITTED.search(str(error)):
        return NotPermittedError(
            f"{said}; give the user of REKINDLE_REDIS_URL the rights that docs/operating.md names"
        )
    return RefusedError(said)


class _Script(NamedTuple):
    text: str
    sha: str


@functools.cache
def _script(name: str) -> _Script:
    """A Lua script of ``lua/``, behind what all share (common.lua), and its digest."""
    folder = resources.files("rekindle.controller.storage") / "lua"
    parts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("common", name)]
    text = "".join(parts)
    return _Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class RedisLink:
    """Runs commands, scripts and transactions; waits while the server is away."""

    def __init__(
        self, url: str, patience_s: float, on_return: Callable[[], None] = lambda: None
    ) -> None:
        """``on_return`` is called, in the loop, when the server answers again after it was away.

        Raises InvalidError for a URL that is none.
        """
        #: The URL without its password, for messages.
        self.shown_url = without_password(url)
        self._patience_s = patience_s
        self._lost = False
        #: What runs again and again: since when, and why.
        self._waits: dict[object, tuple[float, str]] = {}
        self._closing = False
        self._on_return = on_return
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=32,
                timeout=None,
                socket_timeout=30,
                socket_connect_timeout=5,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise InvalidError(
                f"the Redis {self.shown_url!r} cannot be used ({error}): write redis://HOST:PORT, "
                f"rediss://HOST:PORT or unix:///path/of/a/socket"
            ) from error
        self._redis: Redis = Redis(connection_pool=pool)
        self._confirmations = Confirmations(pool)

    def distrust(self, unsafe: Callable[[], str]) -> None:
        """``unsafe`` says why what the server writes may not be on disk; empty while it is."""
        self._confirmations.unsafe = unsafe

    @property
    def lost(self) -> bool:
        """Whether the server is away, as far as is known."""
        return self._lost

    def why_waiting(self) -> str:
        """What Redis has not taken for some seconds, and why, in words; empty where it takes all.

        Where its disk is full it still answers what only reads, so it may not be ``lost``.
        """
        since, reason = min(self._waits.values(), default=(0.0, ""))
        waited = time.monotonic() - since
        if not reason or waited < TELL_AFTER_S:
            return ""
        return f"Redis at {self.shown_url} has taken nothing for {waited:.0f} s ({reason})"

    async def refusal(self, patience_s: float) -> str:
        """Why what is written now is not to be relied on; empty where all is well.

        Asked, and so known also where nothing waits. Raises ServiceError for a server that is away.
        """
        (answer,) = await self.commands([("PING",)], patience_s=patience_s, harmless="MISCONF")
        reason = str(answer) if isinstance(answer, Exception) else self._confirmations.unsafe()
        return f"Redis at {self.shown_url} takes nothing ({reason})" if reason else ""

    async def close(self) -> None:
        """Stop waiting for the server and close the connections."""
        self._closing = True
        await self._confirmations.close()
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def run(
        self,
        operation: Callable[[Redis], Awaitable[T]],
        patience_s: float | None = None,
        *,
        durable: bool = False,
    ) -> T:
        """Run ``operation``, again and again while the server is away.

        ``patience_s``: seconds to wait, 0 for ever; the link's own patience where not given.
        ``durable``: return only when the server has written it, and all that it answered before,
        to its file; for what is acknowledged to somebody.
        Raises ServiceError when the patience is at its end, RefusedError for an error of the
        server that does not pass.
        """
        waits = object()
        try:
            return await self._run(
                self._confirmed(operation) if durable else operation, waits, patience_s
            )
        finally:
            self._waits.pop(waits, None)

    def _confirmed(
        self, operation: Callable[[Redis], Awaitable[T]]
    ) -> Callable[[Redis], Awaitable[T]]:
        async def once(client: Redis) -> T:
            begun = await self._confirmations.begin()
            value = await operation(client)
            await self._confirmations.confirm(begun)
            return value

        return once

    async def _run(
        self, operation: Callable[[Redis], Awaitable[T]], waits: object, patience_s: float | None
    ) -> T:
        started = time.monotonic()
        limit = self._patience_s if patience_s is None else patience_s
        delay = _FIRST_DELAY_S
        while True:
            try:
                value = await _unless_cancelled(operation(self._redis))
            except (*_AWAY, redis.exceptions.ResponseError) as error:
                if not _will_pass(error):
                    raise refused(error) from error
                if not self._lost:
                    self._lost = True
                    log.warning("redis is away", extra=kv(url=self.shown_url, reason=error))
                self._waits[waits] = started, _text(error)
                waited = time.monotonic() - started
                if self._closing or (limit and waited + delay > limit):
                    raise ServiceError(
                        f"Redis at {self.shown_url} has not answered for {waited:.1f} s "
                        f"({_text(error)}); see that it runs and has room, then send the request "
                        "again"
                    ) from error
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY_S)
            except redis.exceptions.RedisError as error:
                raise refused(error) from error
            else:
                if self._lost:
                    self._lost = False
                    log.info("redis is back", extra=kv(url=self.shown_url))
                    self._on_return()
                return value

    async def command(
        self, *args: Any, patience_s: float | None = None, durable: bool = False
    ) -> Any:
        """One command; the reply as redis-py gives it (bytes, int, list, dict of bytes)."""
        return await self.run(lambda client: _execute(client, *args), patience_s, durable=durable)

    async def script(
        self,
        name: str,
        keys: list[str],
        args: list[Any],
        patience_s: float | None = None,
        *,
        durable: bool = False,
    ) -> Any:
        """Run a script of ``lua/`` by its digest; a server that has forgotten it gets its text."""
        script = _script(name)

        async def once(client: Redis) -> Any:
            try:
                return await _execute(client, *_run("EVALSHA", script.sha, keys, args))
            except redis.exceptions.NoScriptError:
                return await _execute(client, *_run("EVAL", script.text, keys, args))

        return await self.run(once, patience_s, durable=durable)

    async def scripts(
        self,
        name: str,
        runs: Sequence[tuple[list[str], list[Any]]],
        patience_s: float | None = None,
        *,
        harmless: str | tuple[str, ...] = (),
    ) -> list[Any]:
        """A script several times, each with its keys and arguments, in one round trip.

        ``harmless``: as of ``commands``.
        """
        script = _script(name)

        async def once(client: Redis) -> list[Any]:
            replies = await _pipelined(client, [_run("EVALSHA", script.sha, *one) for one in runs])
            missing = [
                i for i, it in enumerate(replies) if isinstance(it, redis.exceptions.NoScriptError)
            ]
            texts = [_run("EVAL", script.text, *runs[i]) for i in missing]
            for i, reply in zip(missing, await _pipelined(client, texts), strict=True):
                replies[i] = reply
            return _unless_refused(replies, harmless)

        return await self.run(once, patience_s) if runs else []

    async def commands(
        self,
        commands: Sequence[Command],
        *,
        patience_s: float | None = None,
        harmless: str | tuple[str, ...] = (),
        durable: bool = False,
        atomic: bool = False,
    ) -> list[Any]:
        """Several commands in one round trip.

        ``atomic``: nobody, and no file of the server's, has a part of them without the others.
        An error reply that contains ``harmless``, or one of them, is left among the replies;
        another is raised.
        """
        if not commands:
            return []

        async def once(client: Redis) -> list[Any]:
            replies = await (_atomic if atomic else _pipelined)(client, commands)
            return _unless_refused(replies, harmless)

        return await self.run(once, patience_s, durable=durable)

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """All keys whose names match, some at a time; one may come twice."""
        cursor = 0
        while True:
            cursor, found = await self.command(
                "SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN, patience_s=FOREVER
            )
            yield found
            if not cursor:
                return


async def _unless_cancelled(work: Awaitable[T]) -> T:
    """What ``work`` gives. (redis-py goes on where it is cancelled as it connects.)"""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await work
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


def _text(error: object) -> str:
    return _PLACE_IN_SCRIPT.sub("", str(error))


def _will_pass(error: Exception) -> bool:
    """Whether the same command may succeed later."""
    return isinstance(error, _AWAY) or REFUSES_FOR_NOW.search(str(error)) is not None


def _run(command: str, script: str, keys: list[str], args: list[Any]) -> Command:
    return command, script, len(keys), *keys, *args


async def _pipelined(
    client: Redis, commands: Sequence[Command], *, as_they_are: bool = False
) -> list[Any]:
    """The replies, errors among them; made into what redis-py gives unless ``as_they_are``."""
    if not commands:
        return []
    async with client.pipeline(transaction=False) as pipe:
        if as_they_are:
            pipe.response_callbacks = {}
        for command in commands:
            pipe.execute_command(*command)
        try:
            replies = list(await pipe.execute(raise_on_error=False))
        except redis.exceptions.ConnectionError:
            await _refuse_too_large(client, [word for command in commands for word in command])
            raise
    if any(map(_is_too_large, replies)):
        await _refuse_too_large(client, [word for command in commands for word in command])
    return replies


async def _atomic(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """The same of a transaction. (One of redis-py's has values in the text of its errors.)"""
    all_of_it = [("MULTI",), *commands, ("EXEC",)]
    *queued, done = await _pipelined(client, all_of_it, as_they_are=True)
    if isinstance(done, Exception):
        raise next((one for one in queued if isinstance(one, Exception)), done)
    return list(done)


def _unless_refused(replies: list[Any], harmless: str | tuple[str, ...] = ()) -> list[Any]:
    passed = (harmless,) if isinstance(harmless, str) else harmless
    for reply in replies:
        if isinstance(reply, Exception) and not any(one and one in str(reply) for one in passed):
            raise reply
    return replies


async def _execute(client: Redis, *args: Any) -> Any:
    try:
        # redis-py gives this method no type.
        return await client.execute_command(*args)  # type: ignore[no-untyped-call]
    except redis.exceptions.RedisError as error:
        if isinstance(error, redis.exceptions.ConnectionError) or _is_too_large(error):
            await _refuse_too_large(client, args)
        raise


def _is_too_large(reply: object) -> bool:
    return isinstance(reply, redis.exceptions.ResponseError) and _TOO_LARGE in str(reply)


async def _refuse_too_large(client: Redis, args: Sequence[Any]) -> None:
    """After a lost connection, or one that is about to be: raise RefusedError where that was the
    answer to a value that is larger than the server takes, as it always will be."""
    size = max((len(one) for one in args if isinstance(one, bytes | str)), default=0)
    if size <= _LARGE_BYTES:
        return
    try:
        # The server hangs up on the one that was used, which may not be seen yet.
        await client.connection_pool.disconnect(inuse_connections=False)
        found = await client.config_get(_MOST_OF_A_VALUE)
    except (redis.exceptions.RedisError, OSError):  # it is away, or its user may not ask
        return
    most = int(found.get(_MOST_OF_A_VALUE) or 0)
    if 0 < most < size:
        raise RefusedError(
            f"Redis takes no value of {size:,} bytes ({_MOST_OF_A_VALUE} is {most:,}): raise that, "
            "or lower REKINDLE_BLOB_THRESHOLD_BYTES, so that large values go to the blob store"
        )
