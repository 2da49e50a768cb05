"""Dead letters on Redis: one stream a function, and a set that names the functions.

The letters themselves are written by lua/complete.lua.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rekindle.controller.storage import keys
from rekindle.controller.storage.damage import text
from rekindle.controller.storage.records import StoredLetter
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink

#: Functions that are asked for together.
_PAGE = 500
#: No message.
_NONE = b"\xff"


@dataclass(eq=False)
class LetterStore:
    """The dead letters of one instance."""

    _link: RedisLink
    _instance: str
    _noted: set[str] = field(default_factory=set)

    async def note(self, function_id: str) -> None:
        """Remember that a function may have letters; before its first one is written."""
        if function_id not in self._noted:
            key = keys.dead_index(self._instance)
            await self._link.command("SADD", key, function_id, patience_s=FOREVER)
            self._noted.add(function_id)

    async def functions(self) -> list[str]:
        """Functions that have letters, or had some."""
        found = await self._link.command("SMEMBERS", keys.dead_index(self._instance))
        return [text(raw) for raw in found]

    async def counts(self, function_ids: Sequence[str], ttl_s: int) -> dict[str, int]:
        """How many letters functions have, without those that are older than their time."""
        oldest = int((time.time() - ttl_s) * 1000)
        found: dict[str, int] = {}
        for start in range(0, len(function_ids), _PAGE):
            page = function_ids[start : start + _PAGE]
            commands: list[Command] = []
            for key in map(keys.dead, page):
                commands += [("XTRIM", key, "MINID", oldest), ("XLEN", key)]
            replies = await self._link.commands(commands, harmless="no such key")
            found |= dict(zip(page, map(int, replies[1::2]), strict=True))
        return found

    async def forget(self, function_ids: Sequence[str]) -> None:
        """These have none, and will have none: none of them is open."""
        if function_ids:
            await self._link.command("SREM", keys.dead_index(self._instance), *function_ids)
            self._noted.difference_update(function_ids)

    async def page(self, function_id: str, after: str, count: int) -> list[StoredLetter]:
        """Letters of a function behind an id, oldest first."""
        start = f"({after}" if after else "-"
        reply = await self._link.command(
            "XRANGE", keys.dead(function_id), start, "+", "COUNT", count
        )
        return [_stored(raw) for raw in reply]

    async def one(self, function_id: str, entry: str) -> StoredLetter | None:
        """One letter; None when it is not there (any more)."""
        reply = await self._link.command("XRANGE", keys.dead(function_id), entry, entry)
        return _stored(reply[0]) if reply else None

    async def drop(self, function_id: str, entries: Sequence[str]) -> None:
        """Remove letters."""
        if entries:
            await self._link.command("XDEL", keys.dead(function_id), *entries, durable=True)


def _stored(raw: Any) -> StoredLetter:
    entry, fields = raw
    # What is missing is damaged: who reads it finds that out.
    return StoredLetter(entry.decode(), fields.get(b"l", _NONE), fields.get(b"b", _NONE))
