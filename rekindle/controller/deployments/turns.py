"""Changes of deployed apps, one after the other for each name; knows nothing of the changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rekindle.background_tasks import BackgroundTasks

T = TypeVar("T")


@dataclass(eq=False)
class Turns:
    """Those of a controller."""

    _tasks: BackgroundTasks
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def take(self, name: str, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The value of a change of the app ``name``, which goes to its end, also when the client
        that asked for it goes."""
        lock = self._locks.setdefault(name, asyncio.Lock())

        async def run() -> T:
            async with lock:
                return await step()

        return await self._tasks.to_its_end(run(), f"deploy {name}")
