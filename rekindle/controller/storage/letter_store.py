"""Dead letters on Redis: one stream a function, and a set that names the functions.

The letters themselves are written by lua/complete.lua.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import WRONG_TYPE, Damage, Record, text
from rekindle.controller.storage.records import StoredLetter
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink

#: Functions that are asked for together.
_PAGE = 500
_KIND = "dead letters"
#: No message.
_NONE = b"\xff"


@dataclass(eq=False)
class LetterStore:
    """The dead letters of one instance."""

    _link: RedisLink
    _instance: str
    _damage: Damage
    _noted: set[str] = field(default_factory=set)

    async def note(self, function_id: str) -> None:
        """Remember that a function may have letters; before its first one is written."""
        if function_id not in self._noted:
            key = keys.dead_index(self._instance)
            await self._link.command("SADD", key, function_id, patience_s=FOREVER)
            self._noted.add(function_id)

    async def functions(self) -> list[str]:
        """Functions that have letters, or had some."""
        key = keys.dead_index(self._instance)
        record = Record(_KIND, "list of functions that have some", key)
        found = await self._damage.answer(record, self._link.command("SMEMBERS", key), set())
        return [text(raw) for raw in found]

    def check(self, function_id: str) -> None:
        """Raise InternalFailure where what is kept of a function's letters cannot be read."""
        self._damage.check(_KIND, function_id)

    async def counts(self, function_ids: Sequence[str], ttl_s: int) -> dict[str, int]:
        """How many letters functions have, without those that are older than their time.

        Functions are left out whose letters cannot be read.
        """
        oldest = int((time.time() - ttl_s) * 1000)
        found: dict[str, int] = {}
        for start in range(0, len(function_ids), _PAGE):
            page = function_ids[start : start + _PAGE]
            commands: list[Command] = []
            for key in map(keys.dead, page):
                commands += [("XTRIM", key, "MINID", oldest), ("XLEN", key)]
            replies = await self._link.commands(commands, harmless=WRONG_TYPE)
            for function_id, count in zip(page, replies[1::2], strict=True):
                if isinstance(count, int):
                    found[function_id] = count
                    self._damage.forget(_KIND, function_id)
                else:
                    self._damage.note(_record(function_id), count)
        return found

    async def forget(self, function_ids: Sequence[str]) -> None:
        """These have none, and will have none: none of them is open."""
        if function_ids:
            await self._link.command("SREM", keys.dead_index(self._instance), *function_ids)
            self._noted.difference_update(function_ids)

    async def page(self, function_id: str, after: str, count: int) -> list[StoredLetter]:
        """Letters of a function behind an id, oldest first."""
        start = f"({after}" if after else "-"
        return await self._range(function_id, start, "+", "COUNT", count)

    async def one(self, function_id: str, entry: str) -> StoredLetter | None:
        """One letter; None when it is not there (any more)."""
        found = await self._range(function_id, entry, entry)
        return found[0] if found else None

    async def _range(self, function_id: str, *of: Any) -> list[StoredLetter]:
        """Some; none where they cannot be read."""
        asked = self._link.command("XRANGE", keys.dead(function_id), *of)
        reply = await self._damage.answer(_record(function_id), asked, [])
        return [_stored(raw) for raw in reply]

    async def drop(self, function_id: str, entries: Sequence[str]) -> None:
        """Remove letters."""
        if entries:
            await self._link.command("XDEL", keys.dead(function_id), *entries, durable=True)


def _record(function_id: str) -> Record:
    return Record(_KIND, function_id, keys.dead(function_id))


def _stored(raw: Any) -> StoredLetter:
    entry, fields = raw
    # What is missing is damaged: who reads it finds that out.
    return StoredLetter(entry.decode(), fields.get(b"l", _NONE), fields.get(b"b", _NONE))
