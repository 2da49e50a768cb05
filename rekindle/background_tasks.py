"""Tasks that run in the background of something that lives longer, and end with it.

For the daemons' event loops; knows nothing of what runs in the tasks.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class BackgroundTasks:
    """Keeps tasks until they have ended; what one raises is logged, as no one awaits it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._awaited: Counter[asyncio.Task[Any]] = Counter()

    @property
    def any(self) -> bool:
        """Whether one has not ended."""
        return bool(self._tasks)

    def spawn(
        self, work: Coroutine[Any, Any, object], name: str | None = None
    ) -> asyncio.Task[Any]:
        """Run in the background; an error is logged under ``name``."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def begin(
        self,
        work: Coroutine[Any, Any, T],
        name: str | None = None,
        *,
        foreseen: tuple[type[Exception], ...] = (),
    ) -> asyncio.Task[T]:
        """Run in the background; an error is whose who awaits it by ``value_of``.

        Where nobody does any more, it is logged, unless it is one that was ``foreseen``.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._left, foreseen))
        return task

    async def value_of(self, task: asyncio.Task[T]) -> T:
        """The value of a task, which goes on in the background where whoever waits for it is
        cancelled."""
        self._awaited[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._awaited[task] -= 1
            if not self._awaited[task]:
                del self._awaited[task]

    async def to_its_end(self, work: Coroutine[Any, Any, T], name: str | None = None) -> T:
        """The value of ``work``, which goes on in the background where whoever waits for it is
        cancelled."""
        return await self.value_of(self.begin(work, name))

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

    def _left(self, foreseen: tuple[type[Exception], ...], task: asyncio.Task[Any]) -> None:
        # Who waits has its value a turn of the loop later, and so is counted yet.
        if self._awaited[task] or isinstance(_error_of(task), foreseen):
            self._tasks.discard(task)
        else:
            self._ended(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if (error := _error_of(task)) is not None:
            log.error("a background task failed: %s", task.get_name(), exc_info=error)


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What it raised; asyncio takes it as looked at by then."""
    return None if task.cancelled() else task.exception()
