"""Work on the background thread, for whoever waits for it, or cancels it, on another."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Work(Future[T]):
    """A future whose cancellation is that of its task, without a callback: what a signal's handler
    raises in a callback, on the thread of whoever cancels, Python logs and drops."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        #: Once it has begun; of the loop's thread.
        self.task: Task[Any] | None = None

    def cancel(self) -> bool:
        """Cancel it there and here, where it is not over yet."""
        if not self.done() and not self._loop.is_closed():
            # The task first: where a signal's exception comes next, the future follows it.
            self._loop.call_soon_threadsafe(self._cancel_task)
        return super().cancel()

    def _cancel_task(self) -> None:
        if self.task is not None:
            self.task.cancel()
