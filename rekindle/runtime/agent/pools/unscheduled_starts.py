"""Starts of a pool that the scheduler does not order: by a strategy's name, or to try a version.

They end before the pool does, so that none of them can keep a process of a revision that has been
dropped. Knows nothing of how runners are started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from rekindle.exception import ExecutionError

T = TypeVar("T")


class UnscheduledStarts:
    """Those of one pool, as tasks."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._tasks: set[asyncio.Task[Any]] = set()
        self._over = False

    def __bool__(self) -> bool:
        return bool(self._tasks)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The value of ``work``. Raises ExecutionError where the pool ends before it does."""
        if self._over:
            work.close()
            raise self._error()
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            waits = asyncio.current_task()
            if self._over and waits is not None and not waits.cancelling():
                raise self._error() from None
            raise
        finally:  # not sooner: what it has started is its caller's now
            self._tasks.discard(task)

    def end(self) -> None:
        """Cancel all of them, and refuse others from now on."""
        self._over = True
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait until all of them have ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # whoever waits for it has its turn

    def _error(self) -> ExecutionError:
        return ExecutionError(f"{self._label} is not started: its app was closed")
