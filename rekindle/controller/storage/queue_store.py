"""Queues and results on Redis. What is known of a call is in call_store.py, of apps in registry.py.

Every write here gives the same state when it is sent twice, so that a lost reply can be answered
by sending it again. Payloads and results are bytes that this package never looks into.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.controller.storage import keys
from rekindle.controller.storage.call_store import meta_of
from rekindle.controller.storage.damage import UNREADABLE, WRONG_TYPE, text
from rekindle.controller.storage.records import (
    Acceptance,
    CallMeta,
    Completion,
    InputProgress,
    StoredEntry,
    UndoneCount,
)
from rekindle.controller.storage.redis_link import FOREVER, RedisLink
from rekindle.controller.storage.runs import from_runs, to_runs
from rekindle.exception import InternalFailure

#: The name under which this controller takes inputs. One controller serves an instance at a time
#: (a lock in its directory sees to it), so its successor finds them under the same name. Entries
#: that are pending under any other name are claimed by the reaper.
CONSUMER = "controller"

_TAKE_ENTRIES = 256
#: No entry has more, as lua/common.lua has it.
_MOST_INPUTS = 65536

#: The id of a stream's first entry, without its payload.
_OLDEST = "local e = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1] return e and e[1]"

#: An entry ("" where it is not known) and its (index, result) pairs.
Results = Sequence[tuple[str, Sequence[tuple[int, bytes]]]]


@dataclass(eq=False)
class QueueStore:
    """The queues of all functions, and results."""

    _link: RedisLink

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

    async def has_left(self, function_id: str, call_id: str, entries: Sequence[str]) -> bool:
        """Whether inputs of a call are undone that came in one of these entries; so they may be
        where that cannot be read.
        """
        names = [f"u{one}" for one in entries]
        (found,) = await self._link.commands(
            [("HMGET", keys.call(function_id, call_id), *names)],
            patience_s=FOREVER,
            harmless=WRONG_TYPE,
        )
        return isinstance(found, Exception) or any(one is not None for one in found)

    async def discard(self, function_id: str, entry: str) -> None:
        """Drop an entry that no one can make sense of."""
        queue = keys.queue(function_id)
        await self._link.commands(
            [("XACK", queue, keys.GROUP, entry), ("XDEL", queue, entry)],
            patience_s=FOREVER,
            atomic=True,
        )

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
            try:
                out.append((int(size), from_runs(runs)))
            except ValueError as error:
                raise InternalFailure(
                    f"which results there are of the call {call_id} cannot be read ({error}): "
                    f"Redis's files, or those of the backup that it was started from, are damaged; "
                    f"call again"
                ) from error
        return out

    async def undone(self, function_id: str) -> UndoneCount:
        """Undone inputs of a function, and the change that made it so."""
        names = keys.undone(function_id), keys.changes(function_id)
        found = await self._link.command("MGET", *names, patience_s=FOREVER)
        return UndoneCount(*_numbers(found, f"the inputs of {function_id}"))

    async def depth(
        self,
        function_ids: Sequence[str],
        *,
        patience_s: float | None = None,
        refused_too: bool = False,
    ) -> list[int]:
        """Undone inputs of each function; 1 where that cannot be read: there may be some.

        ``refused_too``: also where Redis refuses to say it. Raises ServiceError otherwise.
        """
        raw = await self._link.commands(
            [("GET", keys.undone(one)) for one in function_ids],
            patience_s=patience_s,
            harmless=WRONG_TYPE if refused_too else "",
        )
        return [_or_one(one) for one in raw]

    async def oldest(self, function_ids: Iterable[str]) -> list[float | None]:
        """When the oldest chunk that is not done was accepted (seconds, by Redis's clock)."""
        replies = await self._link.commands(
            [("EVAL", _OLDEST, 1, keys.queue(one)) for one in function_ids], harmless=WRONG_TYPE
        )
        return [
            int(raw.split(b"-")[0]) / 1000 if isinstance(raw, bytes) else None for raw in replies
        ]


def _take_word(take: bool, meta: CallMeta) -> str:
    return ("2" if meta.depth else "1") if take else "0"


def _entry(raw: Any) -> StoredEntry:
    entry, call_id = text(raw[0]), text(raw[1])
    try:
        return _read_entry(entry, call_id, raw)
    except UNREADABLE as error:
        damage = f"{type(error).__name__}: {error}"
        return StoredEntry(entry, call_id, b"", [], frozenset(), {}, None, damage=damage)


def _read_entry(entry: str, call_id: str, raw: Any) -> StoredEntry:
    progress: dict[int, InputProgress] = {}
    for kept_of in raw[5].decode().split(",") if raw[5] else ():
        index, *kept = map(int, kept_of.split(":"))
        progress[index] = InputProgress(*kept)
    if not (indexes := from_runs(raw[3], _MOST_INPUTS)):
        raise ValueError("which inputs these are is missing")
    return StoredEntry(
        entry=entry,
        call_id=call_id,
        request=raw[2],
        indexes=indexes,
        done=frozenset(from_runs(raw[4])),
        progress=progress,
        meta=meta_of(raw[6]),
    )


def _or_one(raw: bytes | Exception | None) -> int:
    if raw is None:
        return 0
    return int(raw) if isinstance(raw, bytes) and raw.isdigit() else 1


def _numbers(found: Sequence[bytes | None], of: str) -> list[int]:
    try:
        return [int(one or 0) for one in found]
    except ValueError as error:
        raise InternalFailure(
            f"what Redis counts of {of} cannot be read ({error}): its files, or those of the "
            f"backup that it was started from, are damaged"
        ) from error
