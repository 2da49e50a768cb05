"""State on Redis: queues, calls and results. The other half, apps and agents, is in registry.py.

Every write here gives the same state when it is sent twice, so that a lost reply can be answered
by sending it again. Payloads and results are bytes that this package never looks into.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.controller.storage import keys
from rekindle.controller.storage.records import (
    Acceptance,
    CallIndex,
    CallMeta,
    Completion,
    InputProgress,
    StoredEntry,
    Taken,
    Taking,
    UndoneCount,
)
from rekindle.controller.storage.redis_link import FOREVER, RedisLink
from rekindle.controller.storage.runs import from_runs, to_runs

#: The name under which this controller takes inputs. One controller serves an instance at a time
#: (a lock in its directory sees to it), so its successor finds them under the same name. Entries
#: that are pending under any other name are claimed by the reaper.
CONSUMER = "controller"

_META_FIELDS = ("a", "p", "s", "t", "k", "acc", "d", "n", "o", "x")
_TAKE_ENTRIES = 256
#: Keys that are looked through at once.
_SCAN = 256
#: Between two looks of one who looks through all keys.
_PAUSE_S = 0.01

#: The id of a stream's first entry, without its payload.
_OLDEST = "local e = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1] return e and e[1]"

#: An entry ("" where it is not known) and its (index, result) pairs.
Results = Sequence[tuple[str, Sequence[tuple[int, bytes]]]]


@dataclass(eq=False)
class QueueStore:
    """Queues, calls and results on Redis."""

    _link: RedisLink
    _instance: str

    # ---- accepting and completing

    async def accept(
        self,
        function_id: str,
        call_id: str,
        meta: CallMeta,
        request: bytes,
        indexes: Sequence[int],
        *,
        take: bool,
        last: bool,
        limit: int,
        ttl_s: int,
    ) -> Acceptance:
        """Make inputs durable, each (call, index) once; see lua/accept.lua."""
        reply = await self._link.script(
            "accept",
            [*keys.of_inputs(function_id, call_id), keys.once(function_id)],
            [
                *(keys.GROUP, CONSUMER, _take_word(take, meta), "1" if last else "0"),
                *(limit, ttl_s, call_id, meta.app_id, meta.params, meta.strategy),
                *(meta.submitted_ns, meta.kind, request, to_runs(indexes)),
            ],
            durable=meta.kind != "invoke",  # who invokes waits for the result, not for this
        )
        full, taken, undone, change, accepted, done, total, batches, cancelled = reply[:9]
        entry, new, pending, over = reply[9:]
        count = UndoneCount(undone, change)
        return Acceptance(
            *(full == 0, taken == 1, count, accepted, done, total, batches, cancelled),
            *(entry.decode(), from_runs(new), from_runs(pending), over),
        )

    async def complete(
        self,
        function_id: str,
        call_id: str,
        results: Results,
        *,
        ordered: bool,
        ttl_s: int,
        unread_ttl_s: int,
        kept: Sequence[int] = (),
        letters: Mapping[int, tuple[bytes, bytes]] | None = None,
        most_letters: int = 0,
    ) -> Completion:
        """Store results unless their inputs have some, and take what is done off the queue.

        ``ordered``: the call is submitted, not invoked; then the results are durable when this
        returns. ``kept`` are those of the inputs for which there may be progress; ``letters`` are
        dead letters, by index. ``unread_ttl_s``: how long it is known of a call that no one reads,
        where more may come. Waits for a Redis that is away as long as it takes: an agent waits for
        the outcome.
        """
        args: list[Any] = [keys.GROUP, ttl_s, unread_ttl_s, "1" if ordered else "0", to_runs(kept)]
        args += (most_letters, len(letters or ()))
        for index, (letter, request) in (letters or {}).items():
            args += (index, letter, request)
        for entry, pairs in results:
            args += (entry, len(pairs))
            for pair in pairs:
                args += pair
        reply = await self._link.script(
            "complete",
            [
                *keys.of_inputs(function_id, call_id),
                *(keys.dead(function_id), keys.once(function_id)),
            ],
            args,
            FOREVER,
            durable=ordered,
        )
        done, total, batches, batch, undone, change, over, left = reply[:8]
        others = dict(zip(reply[8::2], reply[9::2], strict=True))
        return Completion(
            *(done, total, batches, batch, UndoneCount(undone, change)),
            *(over == 1, from_runs(left), others),
        )

    async def cancel(self, function_id: str, call_id: str, mode: int) -> list[str] | None:
        """Mark a call cancelled; the entries with undone inputs of it, None when it is gone."""
        reply = await self._link.script(
            "cancel", [keys.call(function_id, call_id)], [mode], FOREVER, durable=True
        )
        return [raw.decode() for raw in reply[1:]] if reply[0] else None

    async def keep_progress(
        self, function_id: str, call_id: str, kept: Mapping[int, InputProgress]
    ) -> None:
        """Note lost deliveries, retries and when the next delivery of inputs is due."""
        fields: list[Any] = ["pf", 1]
        for index, at in kept.items():
            fields += (f"p{index}", f"{at.lost}:{at.retries}:{at.ambiguous}:{at.due_ms}")
        key = keys.call(function_id, call_id)
        await self._link.command("HSET", key, *fields, patience_s=FOREVER)

    # ---- taking

    async def take(
        self, function_id: str, inputs: int, size: int
    ) -> tuple[list[StoredEntry], bool]:
        """Take what waits on the stream, about so many inputs and bytes; whether more is left."""
        reply = await self._link.script(
            "take",
            [keys.queue(function_id), keys.backlog(function_id)],
            [keys.GROUP, CONSUMER, inputs, size, _TAKE_ENTRIES, keys.calls(function_id)],
            FOREVER,
        )
        return [_entry(raw) for raw in reply[1:]], reply[0] > 0

    async def pending(self, function_id: str, idle_ms: int = -1) -> list[str]:
        """Ids of entries that someone took and that are not completed.

        With ``idle_ms``: those that were not touched for so long, which become this controller's.
        """
        reply = await self._link.script(
            "pending",
            [keys.queue(function_id)],
            [keys.GROUP, CONSUMER, idle_ms],
            FOREVER,
        )
        return [raw.decode() for raw in reply]

    async def load(self, function_id: str, entries: Sequence[str]) -> list[StoredEntry]:
        """Entries by their ids; those that are gone are left out."""
        reply = await self._link.script(
            "load",
            [keys.queue(function_id)],
            [keys.calls(function_id), *entries],
            FOREVER,
        )
        return [_entry(raw) for raw in reply]

    async def discard(self, function_id: str, entry: str) -> None:
        """Drop an entry that no one can make sense of."""
        queue = keys.queue(function_id)
        await self._link.commands(
            [("XACK", queue, keys.GROUP, entry), ("XDEL", queue, entry)], patience_s=FOREVER
        )

    # ---- calls

    async def index_call(self, call_id: str, at: CallIndex) -> None:
        """Remember where a submitted call belongs, until ``expire_indexes``."""
        text = f"{at.function_id}\n{at.app}\n{at.function}"
        await self._link.command("SET", keys.call_index(call_id), text)

    async def expire_indexes(self, call_ids: Sequence[str], ttl_s: int) -> None:
        """Forget it after so many seconds: these calls have no undone inputs."""
        if not call_ids:
            return
        # Listed first: whoever forgets one meanwhile (``drop_indexes``) takes it off the list
        # after its index, so that it is either taken off there or found missing here.
        until = time.time() + ttl_s
        pairs = [part for call_id in call_ids for part in (until, call_id)]
        await self._link.command("ZADD", keys.kept(self._instance), *pairs, patience_s=FOREVER)
        there = await self._link.commands(
            [("EXPIRE", keys.call_index(one), ttl_s) for one in call_ids], patience_s=FOREVER
        )
        await self._unlist(
            [one for one, is_there in zip(call_ids, there, strict=True) if not is_there]
        )

    async def expire_unlisted(self, call_ids: Sequence[str], ttl_s: int) -> None:
        """The same of calls that are not to be listed as kept: they came to nothing, say."""
        await self._link.commands(
            [("EXPIRE", keys.call_index(one), ttl_s) for one in call_ids], patience_s=FOREVER
        )

    async def keep_indexes(self, call_ids: Sequence[str]) -> None:
        """Take ``expire_indexes`` back: these calls may have undone inputs again."""
        await self._link.commands(
            [("PERSIST", keys.call_index(one)) for one in call_ids], patience_s=FOREVER
        )
        await self._unlist(call_ids)

    async def indexes_without_time(self) -> AsyncIterator[dict[str, CallIndex]]:
        """Where calls belong that have no ``expire_indexes``, of all instances, some at a time."""
        cursor, start = 0, keys.call_index("")
        while True:
            cursor, found = await self._link.command(
                "SCAN", cursor, "MATCH", f"{start}*", "COUNT", _SCAN, patience_s=FOREVER
            )
            ttls = await self._link.commands([("TTL", key) for key in found], patience_s=FOREVER)
            ids = [
                key.decode().removeprefix(start)
                for key, ttl in zip(found, ttls, strict=True)
                if ttl == -1
            ]
            places = zip(ids, await self.indexes_of(ids, patience_s=FOREVER), strict=True)
            if page := {call_id: at for call_id, at in places if at is not None}:
                yield page
            if not cursor:
                return
            await asyncio.sleep(_PAUSE_S)  # Redis has others to serve

    async def have_undone(self, calls: Mapping[str, str]) -> dict[str, bool | None]:
        """Which of these calls, with their functions' ids, have undone inputs; None: not there."""
        found = await self._link.commands(
            [("HMGET", keys.call(calls[one], one), "acc", "d") for one in calls],
            patience_s=FOREVER,
        )
        return {
            call_id: None if accepted is None else int(done or 0) < int(accepted)
            for call_id, (accepted, done) in zip(calls, found, strict=True)
        }

    async def index_of(self, call_id: str) -> CallIndex | None:
        """Where a submitted call belongs; None when it is not known (any more)."""
        return _index(await self._link.command("GET", keys.call_index(call_id)))

    async def indexes_of(
        self, call_ids: Sequence[str], *, patience_s: float | None = None
    ) -> list[CallIndex | None]:
        """The same of several."""
        found = await self._link.commands(
            [("GET", keys.call_index(one)) for one in call_ids], patience_s=patience_s
        )
        return [_index(raw) for raw in found]

    # ---- let go

    async def taken(
        self, takings: Sequence[Taking], *, ttl_s: int, letters_ttl_s: int, patient: bool = False
    ) -> list[Taken]:
        """Let go of what was taken; what lua/taken.lua says has become of each call.

        ``ttl_s``: how long it is known of a call that no one reads, where more may come;
        ``letters_ttl_s``: of one that left dead letters.
        """
        replies = await self._link.scripts(
            "taken",
            [
                (
                    [
                        keys.call(one.function_id, one.call_id),
                        keys.results(one.function_id, one.call_id),
                        keys.once(one.function_id),
                    ],
                    [one.call_id, one.what, ttl_s, letters_ttl_s, to_runs(one.indexes)],
                )
                for one in takings
            ],
            FOREVER if patient else None,
        )
        return [Taken(state, from_runs(letters)) for state, letters in replies]

    async def once(self, function_id: str) -> list[str]:
        """Calls of a function that are kept until their results were taken."""
        found = await self._link.command("SMEMBERS", keys.once(function_id), patience_s=FOREVER)
        return [raw.decode() for raw in found]

    async def how_many_once(self, function_ids: Sequence[str]) -> list[int]:
        """How many such calls each function has."""
        return await self._link.commands([("SCARD", keys.once(one)) for one in function_ids])

    async def drop_indexes(self, call_ids: Sequence[str]) -> None:
        """Forget where calls belonged."""
        await self._link.commands(
            [("UNLINK", keys.call_index(one)) for one in call_ids], patience_s=FOREVER
        )
        await self._unlist(call_ids)

    async def _unlist(self, call_ids: Sequence[str], *, patience_s: float | None = FOREVER) -> None:
        """Take calls off the list of ``kept``."""
        if call_ids:
            key = keys.kept(self._instance)
            await self._link.command("ZREM", key, *call_ids, patience_s=patience_s)

    async def prune_once(self, cursors: Mapping[str, str]) -> dict[str, str]:
        """Take some calls that are gone off the sets of ``once``; where to go on, by function."""
        replies = await self._link.scripts(
            "prune",
            [([keys.once(one)], [at, keys.calls(one), _SCAN]) for one, at in cursors.items()],
            FOREVER,
        )
        return {one: at.decode() for one, at in zip(cursors, replies, strict=True)}

    async def prune_kept(self, cursor: int) -> int:
        """Take those off the list of ``kept`` that are gone, of some; where to go on."""
        key = keys.kept(self._instance)
        _, (cursor, found) = await self._link.commands(
            [
                ("ZREMRANGEBYSCORE", key, "-inf", time.time()),
                ("ZSCAN", key, cursor, "COUNT", _SCAN),
            ],
            patience_s=FOREVER,
        )
        calls = [raw.decode() for raw, _ in _pairs(found)]
        there = await self.known_calls(calls, patience_s=FOREVER)
        await self._unlist([one for one in calls if one not in there])
        return int(cursor)

    async def kept(self, most: int) -> tuple[int, list[tuple[str, float, CallIndex]]]:
        """Calls that are done and kept: how many; and, of so many, when and whose they are."""
        key = keys.kept(self._instance)
        _, count, found = await self._link.commands(
            [
                ("ZREMRANGEBYSCORE", key, "-inf", time.time()),
                ("ZCARD", key),
                ("ZRANGE", key, 0, most - 1, "WITHSCORES"),
            ]
        )
        scores = {raw.decode(): float(until) for raw, until in _pairs(found)}
        shown: list[tuple[str, float, CallIndex]] = []
        gone: list[str] = []
        for call_id, at in zip(scores, await self.indexes_of(list(scores)), strict=True):
            if at is not None:
                shown.append((call_id, scores[call_id], at))
            else:
                gone.append(call_id)
        await self._unlist(gone, patience_s=None)
        return int(count) - len(gone), shown

    async def known_calls(
        self, call_ids: Sequence[str], *, patience_s: float | None = None
    ) -> set[str]:
        """Those of some calls that were submitted and are not forgotten."""
        found = await self._link.commands(
            [("EXISTS", keys.call_index(one)) for one in call_ids], patience_s=patience_s
        )
        return {call_id for call_id, there in zip(call_ids, found, strict=True) if there}

    async def call_meta(self, function_id: str, call_id: str) -> CallMeta | None:
        """A call; None when it is not there."""
        raw = await self._link.command(
            "HMGET", keys.call(function_id, call_id), *_META_FIELDS, patience_s=FOREVER
        )
        return _meta(raw)

    # ---- results

    async def result(self, function_id: str, call_id: str, index: int) -> bytes | None:
        """One stored result."""
        found: bytes | None = await self._link.command(
            "HGET", keys.results(function_id, call_id), index
        )
        return found

    async def results(
        self, function_id: str, call_id: str, indexes: Sequence[int]
    ) -> list[bytes | None]:
        """Several stored results."""
        found = await self._link.command("HMGET", keys.results(function_id, call_id), *indexes)
        return list(found)

    async def batches(
        self, function_id: str, call_id: str, first: int, last: int
    ) -> list[tuple[int, list[int]]]:
        """The size in bytes and the indexes of each batch of results, by their numbers."""
        names = [f"o{number}" for number in range(first, last + 1)]
        found = await self._link.command("HMGET", keys.results(function_id, call_id), *names)
        out: list[tuple[int, list[int]]] = []
        for raw in found:
            size, _, runs = (raw or b"0:").partition(b":")
            out.append((int(size), from_runs(runs)))
        return out

    async def undone(self, function_id: str) -> UndoneCount:
        """Undone inputs of a function, and the change that made it so."""
        names = keys.undone(function_id), keys.changes(function_id)
        found = await self._link.command("MGET", *names, patience_s=FOREVER)
        return UndoneCount(*(int(one or 0) for one in found))

    async def depth(
        self, function_ids: Sequence[str], *, patience_s: float | None = None
    ) -> list[int]:
        """Undone inputs of each function."""
        raw = await self._link.commands(
            [("GET", keys.undone(one)) for one in function_ids], patience_s=patience_s
        )
        return [int(one or 0) for one in raw]

    async def oldest(self, function_ids: Iterable[str]) -> list[float | None]:
        """When the oldest chunk that is not done was accepted (seconds, by Redis's clock)."""
        replies = await self._link.commands(
            [("EVAL", _OLDEST, 1, keys.queue(one)) for one in function_ids]
        )
        return [int(raw.split(b"-")[0]) / 1000 if raw else None for raw in replies]


def _index(raw: bytes | None) -> CallIndex | None:
    return CallIndex(*raw.decode().split("\n")) if raw else None


def _pairs(found: Sequence[Any]) -> list[Any]:
    """Members with their scores, whichever way the client library gives them."""
    if found and isinstance(found[0], tuple | list):
        return list(found)
    return list(zip(found[::2], found[1::2], strict=True))


def _take_word(take: bool, meta: CallMeta) -> str:
    return ("2" if meta.depth else "1") if take else "0"


def _entry(raw: Any) -> StoredEntry:
    progress: dict[int, InputProgress] = {}
    for text in raw[5].decode().split(",") if raw[5] else ():
        index, *kept = map(int, text.split(":"))
        progress[index] = InputProgress(*kept)
    return StoredEntry(
        entry=raw[0].decode(),
        call_id=raw[1].decode(),
        request=raw[2],
        indexes=from_runs(raw[3]),
        done=frozenset(from_runs(raw[4])),
        progress=progress,
        meta=_meta(raw[6]),
    )


def _meta(raw: Any) -> CallMeta | None:
    if raw[0] is None:
        return None
    app_id, params, strategy, submitted_ns, kind, *counts = raw
    return CallMeta(
        *(app_id.decode(), params, strategy.decode(), int(submitted_ns), kind.decode()),
        *(int(one or 0) for one in counts),
    )
