"""What is kept of schedules on Redis: one field of a hash for each, changed by compare and swap."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.controller.storage import keys
from rekindle.controller.storage.redis_link import FOREVER, RedisLink


@dataclass(eq=False)
class ScheduleStore:
    """Name -> JSON. Knows nothing of what it says."""

    _link: RedisLink
    _instance: str

    async def load(self) -> dict[str, str]:
        """All of it."""
        found: dict[bytes, bytes] = await self._link.command(
            "HGETALL", keys.schedules(self._instance), patience_s=FOREVER
        )
        return {_text(name): _text(raw) for name, raw in found.items()}

    async def read(self, name: str) -> str:
        """One; "" where there is none."""
        key = keys.schedules(self._instance)
        raw = await self._link.command("HGET", key, name, patience_s=FOREVER)
        return _text(raw) if raw else ""

    async def forget(self, name: str) -> None:
        """Let one go."""
        key = keys.schedules(self._instance)
        await self._link.command("HDEL", key, name, patience_s=FOREVER, durable=True)

    async def swap(self, name: str, before: str, after: str) -> bool:
        """Change one that is as it was read; False where somebody else has changed it."""
        return (await self.swap_all([(name, before, after)]))[0]

    async def swap_all(self, swaps: list[tuple[str, str, str]]) -> list[bool]:
        """The same for several, each by itself, in one round trip."""
        if not swaps:
            return []
        key = keys.schedules(self._instance)
        args = [word for one in swaps for word in one]
        done: list[int] = await self._link.script("swap", [key], args, FOREVER, durable=True)
        return [bool(one) for one in done]


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")  # who reads it finds out that it is damaged
