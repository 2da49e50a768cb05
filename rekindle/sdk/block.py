"""``async with`` for what is a context manager of threads: entered and left in one of them.

A thread cannot be cancelled. Who is cancelled while it enters or leaves waits for its end, so that
nothing stays that nobody would leave.
"""

from __future__ import annotations

import contextvars
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from rekindle import lazily
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazily.module("asyncio")

T = TypeVar("T")


@trims
class Block(ABC, Generic[T]):
    """A context manager, sync and async, of which the sync half is written."""

    @abstractmethod
    def __enter__(self) -> T: ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def __aenter__(self) -> T:
        entering = _in_thread(self.__enter__)
        cancelled = await _ended(entering)
        if cancelled is None:
            return entering.result()
        if (failed := entering.exception()) is None:
            await self.__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
        raise cancelled from failed

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leaving = _in_thread(lambda: self.__exit__(kind, error, traceback))
        cancelled = await _ended(leaving)
        leaving.result()
        if cancelled is not None:
            raise cancelled


def _in_thread(blocking: Callable[[], T]) -> asyncio.Future[T]:
    """No task, unlike ``asyncio.to_thread``: a loop that ends would cancel one by itself."""
    run = contextvars.copy_context().run
    return asyncio.get_running_loop().run_in_executor(None, run, blocking)


async def _ended(work: asyncio.Future[T]) -> asyncio.CancelledError | None:
    """Return when it is done; with its own cancellation where that came meanwhile."""
    first: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as cancelled:
            first = first or cancelled
    return first
