"""When the inputs of each function arrived, and how long they ran: for tuning and for policies.

Named by app and function, so that the record outlives revisions and runs of the app. Counted in
memory, one call for each chunk; written to Redis a moment later, by functions that had inputs. A
controller that is killed loses the last moment, nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rekindle.controller.metrics.histogram import Histogram, service_times
from rekindle.controller.pools.blocks import (
    BLOCK,
    Arrival,
    Minutes,
    pack_arrivals,
    pack_minutes,
    unpack_arrivals,
    unpack_minutes,
)
from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import UNREADABLE_PLAIN, text
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink, RefusedError
from rekindle.exception import ServiceError
from rekindle.guarded_loops import Retries
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Exact times of about so many arrivals are kept (of a chunk: one time and a count).
KEPT_ARRIVALS = 100_000
_KEPT_BLOCKS = -(-KEPT_ARRIVALS // BLOCK)
#: Counts by the minute are kept for so many days.
KEPT_DAYS = 8
#: A record that nothing is added to goes after this.
_TTL_S = 30 * 24 * 3600
_FLUSH_S = 2.0
#: A series that no one used for so long leaves memory; Redis has it.
_IDLE_S = 600.0
_DAY_S = 86400
#: Series of one function (instances of a class) in memory; what comes beyond is not recorded by
#: itself. In Redis there are some more: those that were added to last.
_MAX_SERIES = 256
_KEPT_SERIES = 2048
#: How often names of functions are let go whose record has gone.
_TIDY_S = 3600.0

#: What unpacking of what is damaged raises.
_UNREADABLE = (*UNREADABLE_PLAIN, zlib.error)

Name = tuple[str, str]  # "app.function", digest of the parameters


@dataclass(slots=True, eq=False)
class Series:
    """One pool's record. ``tail`` is the newest block, ``fresh`` what is not in Redis yet."""

    name: Name
    fresh: list[Arrival] = field(default_factory=list)
    service: Histogram = field(default_factory=service_times)
    tail: list[Arrival] = field(default_factory=list)
    block: int = 0
    #: Blocks that have changed and are not known to be in Redis.
    unwritten: dict[int, list[Arrival]] = field(default_factory=dict)
    days: dict[int, Minutes] = field(default_factory=dict)
    loaded: bool = False
    touched: float = 0.0
    dirty: bool = False


@dataclass(frozen=True)
class Record:
    """All that is known of one series, oldest first."""

    digest: str
    arrivals: list[Arrival]  # (seconds since the epoch, inputs)
    minutes: list[tuple[int, int]]  # (first second of the minute, inputs)
    service: Histogram


class ArrivalLog:
    """The records of all functions."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._series: dict[Name, Series] = {}
        self._of: dict[str, set[str]] = {}
        self._retries = Retries(log, "arrivals not stored", "arrivals are stored again")

    # ---- counting

    def arrived(self, name: Name, count: int, at: float) -> None:
        """``count`` inputs have arrived at ``at`` (seconds since the epoch)."""
        series = self._get(name)
        if series is None:
            return
        fresh = series.fresh
        if fresh and at - fresh[-1][0] < 0.001:
            fresh[-1] = (fresh[-1][0], fresh[-1][1] + count)
        else:
            fresh.append((at, count))
            if len(fresh) > 2 * KEPT_ARRIVALS:  # Redis is away: the newest are kept
                del fresh[:KEPT_ARRIVALS]
        series.touched = at
        series.dirty = True

    def served(self, name: Name, count: int, execute_s: float) -> None:
        """``count`` inputs have run, for so long together."""
        series = self._get(name)
        if series is not None and count > 0:
            series.service.add(execute_s / count, count)
            series.dirty = True

    def service(self, name: Name) -> Histogram:
        """How long inputs run, as far as it is in memory."""
        series = self._series.get(name)
        return series.service if series is not None else service_times()

    def _get(self, name: Name) -> Series | None:
        series = self._series.get(name)
        if series is None:
            known = self._of.setdefault(name[0], set())
            if len(known) >= _MAX_SERIES and name[1] not in known:
                return None
            known.add(name[1])
            series = self._series[name] = Series(name, touched=time.time())
        return series

    # ---- storing

    async def keep_forever(self) -> None:
        """Write what is new, again and again; until cancelled."""
        try:
            await self._take_over()
        except ServiceError as error:
            log.warning("what was recorded before is not found", extra=kv(reason=error))
        tidied = time.monotonic()
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.flush()
            if time.monotonic() - tidied >= _TIDY_S:
                tidied = time.monotonic()
                try:
                    await self.labels()
                except ServiceError as error:
                    log.warning("recorded functions not looked at", extra=kv(reason=error))

    async def _take_over(self) -> None:
        """Have in the index what a controller of a former version has written."""
        known = await self._link.command("SMEMBERS", keys.RECORDED, patience_s=FOREVER)
        for label in sorted(text(raw) for raw in known):
            former, index = keys.former_arrivals_of(label), keys.arrivals_of(label)
            digests = await self._link.command("SMEMBERS", former, patience_s=FOREVER)
            if not digests:
                continue
            now = int(time.time())
            added = [word for digest in sorted(digests) for word in (now, digest)]
            commands: list[Command] = [
                ("ZADD", index, "NX", *added),
                ("EXPIRE", index, _TTL_S),
                ("UNLINK", former),
            ]
            await self._link.commands(commands, patience_s=FOREVER)

    async def flush(self) -> None:
        """Write what is new."""
        now, failed = time.time(), False
        for series in list(self._series.values()):
            if series.dirty:
                try:
                    await self._write(series)
                except ServiceError as error:
                    failed = True
                    self._retries.failed(error, of=series.name[0])
                    if not isinstance(error, RefusedError):  # Redis is away for the others, too
                        return
            elif now - series.touched > _IDLE_S:
                self._let_go(series.name)
        if not failed:
            self._retries.worked()

    def _let_go(self, name: Name) -> None:
        """Have it in memory no more: another series may be recorded in its place."""
        del self._series[name]
        digests = self._of[name[0]]
        digests.discard(name[1])
        if not digests:
            del self._of[name[0]]

    async def _load(self, series: Series) -> None:
        """What former controllers, and former times in memory, have written."""
        if series.loaded:
            return
        key = keys.arrivals(*series.name)
        today = int(time.time()) // _DAY_S
        block, service = await self._link.command("HMGET", key, "n", "s")
        try:
            series.block = int(block or 0)
            tail, day = await self._link.command("HMGET", key, f"b{series.block}", f"d{today}")
            series.tail = unpack_arrivals(tail) if tail else []
            series.days = {today: unpack_minutes(day)} if day else {}
            if service:
                series.service.join(service_times(json.loads(service)))
        except _UNREADABLE as error:
            await self._set_aside(series.name, error)
            series.block, series.tail, series.days = 0, [], {}
        series.loaded = True

    async def _set_aside(self, name: Name, error: Exception) -> None:
        """What is recorded of a series cannot be read: it is kept elsewhere, and begins anew."""
        key = keys.arrivals(*name)
        aside = keys.set_aside(key)
        why = kv(of=name[0], params=name[1][:8], reason=repr(error), set_aside=aside)
        log.error("arrivals cannot be read, and begin anew", extra=why)
        await self._link.commands(
            [("RENAME", key, aside), ("EXPIRE", aside, _TTL_S)],
            harmless="no such key",
            atomic=True,
        )

    async def _write(self, series: Series) -> None:
        is_new = not series.loaded
        await self._load(series)
        fresh, series.fresh, series.dirty = series.fresh, [], False
        key = keys.arrivals(*series.name)
        self._append(series, fresh)
        changed = dict(series.unwritten)
        first_kept = series.block - _KEPT_BLOCKS
        today = int(time.time()) // _DAY_S
        fields: list[Any] = ["n", series.block, "s", json.dumps(series.service.to_list())]
        for number, block in changed.items():
            fields += [f"b{number}", pack_arrivals(block)]
        for day, minutes in series.days.items():
            fields += [f"d{day}", pack_minutes(minutes)]
        commands: list[Command] = [
            ("HSET", key, *fields),
            ("HDEL", key, *(f"b{number - 1 - _KEPT_BLOCKS}" for number in changed)),
            ("HDEL", key, f"b{first_kept}", f"d{today - KEPT_DAYS}", f"d{today - KEPT_DAYS - 1}"),
            ("EXPIRE", key, _TTL_S),
            ("ZADD", keys.arrivals_of(series.name[0]), int(time.time()), series.name[1]),
            ("EXPIRE", keys.arrivals_of(series.name[0]), _TTL_S),
            ("SADD", keys.RECORDED, series.name[0]),
        ]
        try:
            await self._link.commands(commands, atomic=True)
            if is_new:
                await self._trim(series.name[0])
        except BaseException:
            series.dirty = True
            raise
        series.unwritten.clear()
        for day in [day for day in series.days if day != today]:
            del series.days[day]

    async def _trim(self, label: str) -> None:
        """Of one function: forget the names of series that have gone, and the oldest of many."""
        index = keys.arrivals_of(label)
        _, beyond = await self._link.commands(
            [
                ("ZREMRANGEBYSCORE", index, "-inf", int(time.time()) - _TTL_S),
                ("ZRANGE", index, 0, -1 - _KEPT_SERIES),
            ]
        )
        if beyond:
            gone = [("UNLINK", keys.arrivals(label, text(raw))) for raw in beyond]
            await self._link.commands([("ZREM", index, *beyond), *gone])

    def _append(self, series: Series, fresh: Iterable[Arrival]) -> None:
        """Put arrivals into blocks and minutes."""
        series.unwritten[series.block] = series.tail
        for at, count in fresh:
            if len(series.tail) >= BLOCK:
                series.block += 1
                series.tail = series.unwritten[series.block] = []
            series.tail.append((at, count))
            day = int(at) // _DAY_S
            series.days.setdefault(day, Minutes()).count(int(at) % _DAY_S // 60, count)

    async def forget(self, label: str) -> None:
        """Drop all that is recorded of a function."""
        for name in [name for name in self._series if name[0] == label]:
            self._let_go(name)
        index = keys.arrivals_of(label)
        digests = await self._link.command("ZRANGE", index, 0, -1, patience_s=FOREVER)
        commands: list[Command] = [("UNLINK", keys.arrivals(label, text(raw))) for raw in digests]
        commands += [("UNLINK", index), ("SREM", keys.RECORDED, label)]
        await self._link.commands(commands, patience_s=FOREVER)

    # ---- reading

    async def records(self, label: str) -> list[Record]:
        """All series of a function, with what is not stored yet."""
        await self.flush()
        digests = {
            text(raw) for raw in await self._link.command("ZRANGE", keys.arrivals_of(label), 0, -1)
        }
        return [await self.record((label, digest)) for digest in sorted(digests)]

    async def labels(self) -> list[str]:
        """The functions that there is a record of; those whose record has gone are forgotten."""
        known = [text(raw) for raw in await self._link.command("SMEMBERS", keys.RECORDED)]
        there = await self._link.commands([("EXISTS", keys.arrivals_of(one)) for one in known])
        gone = [label for label, found in zip(known, there, strict=True) if not found]
        if gone:
            await self._link.command("SREM", keys.RECORDED, *gone)
        return [label for label in known if label not in gone]

    async def record(self, name: Name) -> Record:
        """One series, from Redis."""
        raw: dict[bytes, bytes] = await self._link.command("HGETALL", keys.arrivals(*name))
        try:
            return await asyncio.to_thread(_unpacked, name[1], raw)  # a long one takes a while
        except _UNREADABLE as error:
            await self._set_aside(name, error)
            return _unpacked(name[1], {})

    async def newest(self, name: Name, count: int) -> tuple[list[Arrival], float]:
        """The last ``count`` arrivals of a series or some more, and the mean time that one runs.

        Waits for a Redis that is away.
        """
        key = keys.arrivals(*name)
        block, service = await self._link.command("HMGET", key, "n", "s", patience_s=FOREVER)
        try:
            last = int(block or 0)
            first = max(0, last - count // BLOCK)
            blocks = [f"b{n}" for n in range(first, last + 1)]
            found = await self._link.command("HMGET", key, *blocks, patience_s=FOREVER)
            mean_s = service_times(json.loads(service)).mean_s if service else 0.0
            return [one for data in found if data for one in unpack_arrivals(data)], mean_s
        except _UNREADABLE as error:
            await self._set_aside(name, error)
            return [], 0.0


def _unpacked(digest: str, raw: Mapping[bytes, bytes]) -> Record:
    blocks = sorted(int(field_[1:]) for field_ in raw if field_.startswith(b"b"))
    days = sorted(int(field_[1:]) for field_ in raw if field_.startswith(b"d"))
    arrivals = [one for n in blocks for one in unpack_arrivals(raw[b"b%d" % n])]
    minutes = [
        (day * _DAY_S + minute * 60, count)
        for day in days
        for minute, count in unpack_minutes(raw[b"d%d" % day]).counted()
    ]
    service = service_times(json.loads(raw[b"s"])) if b"s" in raw else service_times()
    return Record(digest, arrivals, minutes, service)
