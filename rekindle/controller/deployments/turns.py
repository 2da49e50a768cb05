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
    #: With how many have it or wait for it.
    _locks: dict[str, tuple[asyncio.Lock, int]] = field(default_factory=dict)

    async def take(self, name: str, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The value of a change of the app ``name``, which goes to its end, also when the client
        that asked for it goes."""
        lock, waiting = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = lock, waiting + 1

        async def run() -> T:
            try:
                async with lock:
                    return await step()
            finally:
                _, waiting = self._locks.pop(name)
                if waiting > 1:
                    self._locks[name] = lock, waiting - 1

        return await self._tasks.to_its_end(run(), f"deploy {name}")
