"""Calls on Redis: what each is, where it belongs, and for how long that is known.

Their inputs and results are in queue_store.py. Every write here gives the same state when it is
sent twice, so that a lost reply can be answered by sending it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import UNREADABLE, WRONG_TYPE, Damage, Record, text
from rekindle.controller.storage.records import OTHERS, CallIndex, CallMeta, Taken, Taking
from rekindle.controller.storage.redis_link import FOREVER, RedisLink
from rekindle.controller.storage.runs import from_runs, to_runs
from rekindle.exception import InternalFailure
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: A damaged record's kind: the set of a function's calls that are kept until they were taken.
CALLS_OF = "list of calls of the function"
_KINDS = ("invoke", "map", "submit")
_META_FIELDS = ("a", "p", "s", "t", "k", "acc", "d", "n", "o", "x")
#: Calls that are looked through at once.
_SCAN = 256
#: Between two looks of one who looks through all keys.
_PAUSE_S = 0.01


@dataclass(eq=False)
class CallStore:
    """The calls of an instance on Redis."""

    _link: RedisLink
    _instance: str
    _damage: Damage

    # ---- where a call belongs

    async def index_call(self, call_id: str, at: CallIndex) -> None:
        """Remember where a submitted call belongs, until ``expire_indexes``."""
        text = f"{at.function_id}\n{at.app}\n{at.function}"
        await self._link.command("SET", keys.call_index(call_id), text)

    async def index_of(self, call_id: str) -> CallIndex | None:
        """Where a submitted call belongs; None when it is not known (any more).

        Raises InternalFailure where that cannot be read.
        """
        raw = await self._link.command("GET", keys.call_index(call_id))
        at = _index(call_id, raw)
        if raw and at is None:
            raise _damaged(call_id, "where it belongs")
        return at

    async def indexes_of(
        self, call_ids: Sequence[str], *, patience_s: float | None = None
    ) -> list[CallIndex | None]:
        """The same of several; None, too, where it cannot be read, which is logged."""
        found = await self._link.commands(
            [("GET", keys.call_index(one)) for one in call_ids],
            patience_s=patience_s,
            harmless=WRONG_TYPE,
        )
        return list(map(_index, call_ids, found))

    async def known_calls(
        self, call_ids: Sequence[str], *, patience_s: float | None = None
    ) -> set[str]:
        """Those of some calls that were submitted and are not forgotten."""
        found = await self._link.commands(
            [("EXISTS", keys.call_index(one)) for one in call_ids], patience_s=patience_s
        )
        return {call_id for call_id, there in zip(call_ids, found, strict=True) if there}

    async def drop_indexes(self, call_ids: Sequence[str]) -> None:
        """Forget where calls belonged."""
        await self._link.commands(
            [("UNLINK", keys.call_index(one)) for one in call_ids], patience_s=FOREVER
        )
        await self._unlist(call_ids)

    # ---- for how long that is known

    async def expire_indexes(self, call_ids: Sequence[str], ttl_s: int) -> None:
        """Forget it after so many seconds: these calls have no undone inputs."""
        if not call_ids:
            return
        # Listed first: whoever forgets one meanwhile (``drop_indexes``) takes it off the list
        # after its index, so that it is either taken off there or found missing here.
        until = time.time() + ttl_s
        pairs = [part for call_id in call_ids for part in (until, call_id)]
        key = keys.kept(self._instance)
        asked = self._link.command("ZADD", key, *pairs, patience_s=FOREVER)
        await self._damage.answer(self._list, asked, 0)
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
        start = keys.call_index("")
        async for found in self._link.scan(f"{start}*"):
            ttls = await self._link.commands([("TTL", key) for key in found], patience_s=FOREVER)
            ids = [
                text(key).removeprefix(start)
                for key, ttl in zip(found, ttls, strict=True)
                if ttl == -1
            ]
            places = zip(ids, await self.indexes_of(ids, patience_s=FOREVER), strict=True)
            if page := {call_id: at for call_id, at in places if at is not None}:
                yield page
            await asyncio.sleep(_PAUSE_S)  # Redis has others to serve

    async def kept(self, most: int) -> tuple[int, list[tuple[str, float, CallIndex]]]:
        """Calls that are done and kept: how many; and, of so many, when and whose they are."""
        key = keys.kept(self._instance)
        asked = self._link.commands(
            [
                ("ZREMRANGEBYSCORE", key, "-inf", time.time()),
                ("ZCARD", key),
                ("ZRANGE", key, 0, most - 1, "WITHSCORES"),
            ]
        )
        _, count, found = await self._damage.answer(self._list, asked, [0, 0, []])
        scores = {text(raw): float(until) for raw, until in _pairs(found)}
        shown: list[tuple[str, float, CallIndex]] = []
        gone: list[str] = []
        for call_id, at in zip(scores, await self.indexes_of(list(scores)), strict=True):
            if at is not None:
                shown.append((call_id, scores[call_id], at))
            else:
                gone.append(call_id)
        await self._unlist(gone, patience_s=None)
        return int(count) - len(gone), shown

    async def prune_kept(self, cursor: int) -> int:
        """Take those off the list of ``kept`` that are gone, of some; where to go on."""
        key = keys.kept(self._instance)
        asked = self._link.commands(
            [
                ("ZREMRANGEBYSCORE", key, "-inf", time.time()),
                ("ZSCAN", key, cursor, "COUNT", _SCAN),
            ],
            patience_s=FOREVER,
        )
        _, (cursor, found) = await self._damage.answer(self._list, asked, [0, (0, [])])
        calls = [text(raw) for raw, _ in _pairs(found)]
        there = await self.known_calls(calls, patience_s=FOREVER)
        await self._unlist([one for one in calls if one not in there])
        return int(cursor)

    @property
    def _list(self) -> Record:
        key = keys.kept(self._instance)
        return Record("list of calls", "those that are done and kept", key)

    async def _unlist(self, call_ids: Sequence[str], *, patience_s: float | None = FOREVER) -> None:
        """Take calls off the list of ``kept``."""
        if call_ids:
            key = keys.kept(self._instance)
            asked = self._link.command("ZREM", key, *call_ids, patience_s=patience_s)
            await self._damage.answer(self._list, asked, 0)

    # ---- what is of a call

    async def call_meta(self, function_id: str, call_id: str) -> CallMeta | None:
        """A call; None when it is not there. Raises InternalFailure where it cannot be read."""
        raw = await self._link.command(
            "HMGET", keys.call(function_id, call_id), *_META_FIELDS, patience_s=FOREVER
        )
        try:
            return meta_of(raw)
        except UNREADABLE as error:
            raise _damaged(call_id, f"{type(error).__name__}: {error}") from error

    async def have_undone(self, calls: Mapping[str, str]) -> dict[str, bool | None]:
        """Which of these calls, with their functions' ids, have undone inputs; None: not there."""
        found = await self._link.commands(
            [("HMGET", keys.call(calls[one], one), "acc", "d") for one in calls],
            patience_s=FOREVER,
            harmless=WRONG_TYPE,
        )
        undone: dict[str, bool | None] = {}
        for call_id, reply in zip(calls, found, strict=True):
            if isinstance(reply, Exception):  # something may be undone
                self._damage.note(_record(calls[call_id], call_id), reply)
                undone[call_id] = True
                continue
            accepted, done = reply
            undone[call_id] = None if accepted is None else _is_less(done or b"0", accepted)
        return undone

    # ---- let go

    async def taken(
        self, takings: Sequence[Taking], *, ttl_s: int, letters_ttl_s: int, patient: bool = False
    ) -> list[Taken]:
        """Let go of what was taken; what lua/taken.lua says has become of each call.

        ``ttl_s``: how long it is known of a call that no one reads, where more may come;
        ``letters_ttl_s``: of one that left dead letters. One that is damaged stays as it is.
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
            harmless=WRONG_TYPE,
        )
        became: list[Taken] = []
        for one, reply in zip(takings, replies, strict=True):
            if isinstance(reply, Exception):
                self._damage.note(_record(one.function_id, one.call_id), reply)
                became.append(Taken(OTHERS, []))
            else:
                became.append(Taken(reply[0], from_runs(reply[1])))
        return became

    async def once(self, function_id: str) -> list[str]:
        """Calls of a function that are kept until their results were taken."""
        asked = self._link.command("SMEMBERS", keys.once(function_id), patience_s=FOREVER)
        found = await self._damage.answer(_once(function_id), asked, set())
        return [text(raw) for raw in found]

    async def how_many_once(self, function_ids: Sequence[str]) -> list[int]:
        """How many such calls each function has."""
        found = await self._link.commands(
            [("SCARD", keys.once(one)) for one in function_ids], harmless=WRONG_TYPE
        )
        return [one if isinstance(one, int) else 0 for one in found]

    async def prune_once(self, cursors: Mapping[str, str]) -> dict[str, str]:
        """Take some calls that are gone off the sets of ``once``; where to go on, by function."""
        replies = await self._link.scripts(
            "prune",
            [([keys.once(one)], [at, keys.calls(one), _SCAN]) for one, at in cursors.items()],
            FOREVER,
            harmless=WRONG_TYPE,
        )
        found: dict[str, str] = {}
        for one, at in zip(cursors, replies, strict=True):
            if isinstance(at, bytes):
                found[one] = at.decode()
            else:
                self._damage.note(_once(one), at)
        return found


def meta_of(raw: Any) -> CallMeta | None:
    """From what Redis has of it; None where the call is not there. Raises one of UNREADABLE."""
    if all(one is None for one in raw):
        return None
    app_id, params, strategy, submitted_ns, kind, *counts = raw
    meta = CallMeta(
        *(app_id.decode(), params, strategy.decode(), int(submitted_ns), kind.decode()),
        *map(int, (*counts[:4], counts[4] or 0)),
    )
    if meta.kind not in _KINDS:
        raise ValueError(f"its kind is {meta.kind!r}")
    return meta


def _record(function_id: str, call_id: str) -> Record:
    return Record("call", call_id, keys.call(function_id, call_id))


def _once(function_id: str) -> Record:
    return Record(CALLS_OF, function_id, keys.once(function_id))


def _is_less(done: bytes, accepted: bytes) -> bool:
    """Also where one is no number: something may be undone."""
    return not (done.isdigit() and accepted.isdigit() and int(done) >= int(accepted))


def _index(call_id: str, raw: bytes | Exception | None) -> CallIndex | None:
    """None, too, where it cannot be read, which is logged."""
    if not raw:
        return None
    try:
        if isinstance(raw, Exception):
            raise ValueError(str(raw))
        return CallIndex(*raw.decode().split("\n"))
    except UNREADABLE as error:
        why = kv(kind="call index", of=call_id, reason=error)
        log.error("what is stored cannot be read", extra=why)
        return None


def _damaged(call_id: str, what: str) -> InternalFailure:
    return InternalFailure(
        f"what Redis has kept of the call {call_id} cannot be read ({what}): its files, or those "
        f"of the backup that it was started from, are damaged; call again"
    )


def _pairs(found: Sequence[Any]) -> list[Any]:
    """Members with their scores, whichever way the client library gives them."""
    if found and isinstance(found[0], tuple | list):
        return list(found)
    return list(zip(found[::2], found[1::2], strict=True))
