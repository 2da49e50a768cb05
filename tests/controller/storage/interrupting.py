"""A link to Redis between whose commands something else happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rekindle.controller.storage.redis_link import RedisLink


class Interrupting(RedisLink):
    """Something else happens behind each of the first commands of one who writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url, 30.0)
        self.after: dict[str, Callable[[], Awaitable[None]]] = {}

    async def _then(self, name: str) -> None:
        if (happens := self.after.pop(name, None)) is not None:
            await happens()

    async def command(self, *args: Any, patience_s: float | None = None) -> Any:
        reply = await super().command(*args, patience_s=patience_s)
        await self._then(args[0])
        return reply

    async def commands(self, commands: Sequence[Any], **how: Any) -> list[Any]:
        replies = await super().commands(commands, **how)
        if commands:
            await self._then(commands[0][0])
        return replies
