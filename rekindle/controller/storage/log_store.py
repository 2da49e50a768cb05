"""Log lines on Redis: a stream for each app, whose entries are named by the lines' numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rekindle.controller.storage import keys
from rekindle.controller.storage.redis_link import FOREVER, Command, RedisLink

#: In place of a message that is missing: none, whoever reads it.
_DAMAGED = b"\xff"


@dataclass(eq=False)
class LogStore:
    """LogLine messages by app. Knows nothing of what they say."""

    _link: RedisLink

    async def append(self, messages: Sequence[tuple[str, int, int, bytes, int]]) -> None:
        """Keep LogLine messages: (app id, seq, lines, message, about how many the app keeps)."""
        await self._link.commands(
            [
                ("XADD", keys.logs(app_id), "MAXLEN", "~", keep, f"{seq}-{lines}", "l", data)
                for app_id, seq, lines, data, keep in messages
            ],
            patience_s=FOREVER,
            harmless="equal or smaller",  # stored before, its reply was lost
        )

    async def expire(self, app_ids: Iterable[str], ttl_s: int) -> None:
        """Have the lines of apps go when their time is over."""
        commands: list[Command] = [("EXPIRE", keys.logs(app_id), ttl_s) for app_id in app_ids]
        if commands:
            await self._link.commands(commands, patience_s=FOREVER)

    async def after(self, app_id: str, seq: int, count: int) -> list[tuple[int, int, bytes]]:
        """Stored LogLine messages behind ``seq``, oldest first: seq, lines, message."""
        reply = await self._link.command(
            "XRANGE", keys.logs(app_id), f"{seq + 1}-0", "+", "COUNT", count
        )
        return [(*_named(entry), bytes(fields.get(b"l", _DAMAGED))) for entry, fields in reply]

    async def before(self, app_id: str, seq: int, count: int) -> list[tuple[int, int, bytes]]:
        """The same before ``seq``, the newest first."""
        reply = await self._link.command(
            "XREVRANGE", keys.logs(app_id), f"({seq}-0", "-", "COUNT", count
        )
        return [(*_named(entry), bytes(fields.get(b"l", _DAMAGED))) for entry, fields in reply]

    async def sizes(self, app_id: str) -> list[int]:
        """How many lines each stored LogLine message of an app has, the oldest first."""
        reply = await self._link.command("XRANGE", keys.logs(app_id), "-", "+", patience_s=FOREVER)
        return [_named(entry)[1] for entry, _ in reply]

    async def last_seq(self, app_id: str) -> int:
        """The highest sequence number that is stored for an app; 0 when there is none."""
        reply = await self._link.command(
            "XREVRANGE", keys.logs(app_id), "+", "-", "COUNT", 1, patience_s=FOREVER
        )
        return _named(reply[0][0])[0] if reply else 0


def _named(entry: bytes) -> tuple[int, int]:
    """The number of a message's last line, and how many it has."""
    seq, _, lines = bytes(entry).partition(b"-")
    return int(seq), max(1, int(lines))
