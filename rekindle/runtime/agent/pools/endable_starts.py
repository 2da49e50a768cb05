"""Starts of a pool, which end when the pool does, whatever hook they are in.

So none of them keeps a process of a revision that has been dropped, nor an app that is stopped from
its end. Knows nothing of how runners are started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from rekindle.exception import ExecutionError

T = TypeVar("T")


class EndableStarts:
    """Those of one kind of a pool, as tasks."""

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
