"""Tasks that run in the background of something that lives longer, and end with it.

For the daemons' event loops; knows nothing of what runs in the tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class BackgroundTasks:
    """Keeps tasks until they have ended; what one raises is logged, as no one awaits it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(
        self, work: Coroutine[Any, Any, object], name: str | None = None
    ) -> asyncio.Task[Any]:
        """Run in the background; an error is logged under ``name``."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def begin(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run in the background; an error is whose who awaits it, if anybody does."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._left)
        return task

    async def to_its_end(self, work: Coroutine[Any, Any, T], name: str | None = None) -> T:
        """Its value; it goes on in the background where whoever waits for that is cancelled."""
        return await asyncio.shield(self.begin(work, name))

    async def finish(self) -> None:
        """Wait until all have ended, those included that are spawned meanwhile."""
        # Only what has not ended: from Python 3.12 on, gather() of tasks that have all ended gives
        # the loop no turn, and so the callback that takes them out of the set would never run.
        while running := [task for task in self._tasks if not task.done()]:
            await asyncio.gather(*running, return_exceptions=True)

    async def cancel(self) -> None:
        """Cancel all, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await self.finish()

    def _left(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it was looked at

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a background task failed: %s", task.get_name(), exc_info=task.exception())
