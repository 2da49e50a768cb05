"""State on Redis: queues, calls and results. The other half, apps and agents, is in registry.py.

Every write here gives the same state when it is sent twice, so that a lost reply can be answered
by sending it again. Payloads and results are bytes that this room never looks into.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from rekindle.controller import keys
from rekindle.controller.records import (
    Acceptance,
    CallMeta,
    Completion,
    InputProgress,
    QueuedEntry,
)
from rekindle.controller.redis_link import RedisLink, Script

#: The name under which this controller takes inputs. One controller serves an instance at a time
#: (a lock in its directory sees to it), so its successor finds them under the same name.
CONSUMER = "controller"

_FOREVER = 0.0
_META_FIELDS = ("a", "p", "s", "t", "k", "acc", "d", "n")


class NewInput(Protocol):
    """What ``accept`` needs of an input (the wire's Input has it)."""

    @property
    def index(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def payload(self) -> bytes: ...


class QueueStore:
    """Queues, calls and results on Redis."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._accept = Script("accept")
        self._complete = Script("complete")
        self._take = Script("take")

    async def accept(
        self,
        function_id: str,
        call_id: str,
        meta: CallMeta,
        inputs: Sequence[NewInput],
        *,
        take: bool,
        last: bool,
        ttl_s: int,
    ) -> Acceptance:
        """Make inputs durable, each (call, index) once; see lua/accept.lua."""
        args: list[Any] = [
            keys.GROUP,
            CONSUMER,
            "1" if take else "0",
            ttl_s,
            "1" if last else "0",
            call_id,
            meta.app_id,
            meta.params,
            meta.strategy,
            meta.submitted_ns,
            meta.kind,
        ]
        for item in inputs:
            args += (item.index, item.method, item.payload)
        reply = await self._link.script(
            self._accept,
            [
                keys.queue(function_id),
                keys.call(function_id, call_id),
                keys.results(function_id, call_id),
                keys.backlog(function_id),
            ],
            args,
        )
        states = [(reply[i], reply[i + 1].decode()) for i in range(4, len(reply), 2)]
        return Acceptance(reply[0] == 1, reply[1], reply[2], reply[3], states)

    async def index_call(self, call_id: str, function_id: str, ttl_s: int) -> None:
        """Remember which function a submitted call is of."""
        await self._link.command("SET", keys.call_index(call_id), function_id, "EX", ttl_s)

    async def function_of(self, call_id: str) -> str | None:
        """The function of a submitted call; None when the call is not known (any more)."""
        raw = await self._link.command("GET", keys.call_index(call_id))
        return raw.decode() if raw else None

    async def complete(
        self, function_id: str, call_id: str, index: int, result: bytes, ttl_s: int
    ) -> Completion:
        """Store a result unless the input has one, and take the input off the queue.

        Waits for a Redis that is away as long as it takes: an agent waits for the outcome.
        """
        reply = await self._link.script(
            self._complete,
            [
                keys.queue(function_id),
                keys.call(function_id, call_id),
                keys.results(function_id, call_id),
            ],
            [keys.GROUP, index, result, ttl_s],
            _FOREVER,
        )
        return Completion(*reply)

    async def take(self, function_id: str, count: int) -> tuple[list[QueuedEntry], bool]:
        """Take up to ``count`` inputs that wait on the stream, and say whether more are left."""
        reply = await self._link.script(
            self._take,
            [keys.queue(function_id), keys.backlog(function_id)],
            [keys.GROUP, CONSUMER, count],
            _FOREVER,
        )
        return [_entry(raw) for raw in reply[1:]], reply[0] > 0

    async def taken(self, function_id: str) -> AsyncIterator[list[QueuedEntry]]:
        """The inputs that this controller, or the one before it, took and did not complete."""
        after = "0"
        while True:
            reply = await self._link.command(
                *("XREADGROUP", "GROUP", keys.GROUP, CONSUMER, "COUNT", 64),
                *("STREAMS", keys.queue(function_id), after),
                patience_s=_FOREVER,
            )
            entries = reply[0][1] if reply else []
            if not entries:
                return
            after = entries[-1][0].decode()
            yield [_entry(raw) for raw in entries if raw[1]]

    async def call_metas(
        self, function_id: str, call_ids: Sequence[str]
    ) -> dict[str, CallMeta | None]:
        """The calls of a function by id; None for one that is not there."""
        replies = await self._link.commands(
            [("HMGET", keys.call(function_id, call_id), *_META_FIELDS) for call_id in call_ids],
            patience_s=_FOREVER,
        )
        return {call_id: _meta(raw) for call_id, raw in zip(call_ids, replies, strict=True)}

    async def progress(
        self, function_id: str, inputs: Sequence[tuple[str, int]]
    ) -> list[InputProgress | None]:
        """For each (call, index) what is kept of it; None when it is done or not known."""
        replies = await self._link.commands(
            [
                ("HMGET", keys.call(function_id, call_id), *(f"{name}{index}" for name in "ilrw"))
                for call_id, index in inputs
            ],
            patience_s=_FOREVER,
        )
        return [
            InputProgress(raw[0].decode(), int(raw[1] or 0), int(raw[2] or 0), int(raw[3] or 0))
            if raw[0]
            else None
            for raw in replies
        ]

    async def keep_progress(
        self, function_id: str, call_id: str, index: int, *, lost: int, retries: int, due_ms: int
    ) -> None:
        """Note lost deliveries, retries and the due time of the next one (0: at once)."""
        await self._link.command(
            *("HSET", keys.call(function_id, call_id)),
            *(f"l{index}", lost, f"r{index}", retries, f"w{index}", due_ms),
            patience_s=_FOREVER,
        )

    async def result(self, function_id: str, call_id: str, index: int) -> bytes | None:
        """One stored result."""
        found: bytes | None = await self._link.command(
            "HGET", keys.results(function_id, call_id), index
        )
        return found

    async def result_indexes(self, function_id: str, call_id: str) -> list[int]:
        """Indexes of the stored results of a call, in order."""
        found = await self._link.command("HKEYS", keys.results(function_id, call_id))
        return sorted(int(name) for name in found)

    async def results(
        self, function_id: str, call_id: str, indexes: Sequence[int]
    ) -> list[bytes | None]:
        """Several stored results."""
        found = await self._link.command("HMGET", keys.results(function_id, call_id), *indexes)
        return list(found)

    async def depth(self, function_ids: Sequence[str]) -> list[int]:
        """Undone inputs of each function."""
        return await self._link.commands([("XLEN", keys.queue(one)) for one in function_ids])


def _entry(raw: Any) -> QueuedEntry:
    fields = raw[1] if isinstance(raw[1], dict) else dict(zip(*[iter(raw[1])] * 2, strict=True))
    return QueuedEntry(
        entry=raw[0].decode(),
        call_id=fields[b"c"].decode(),
        index=int(fields[b"x"]),
        method=fields[b"m"].decode(),
        payload=fields[b"p"],
    )


def _meta(raw: Any) -> CallMeta | None:
    if raw[0] is None:
        return None
    return CallMeta(
        app_id=raw[0].decode(),
        params=raw[1],
        strategy=raw[2].decode(),
        submitted_ns=int(raw[3]),
        kind=raw[4].decode(),
        accepted=int(raw[5]),
        done=int(raw[6]),
        total=int(raw[7]),
    )
