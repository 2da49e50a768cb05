"""Says what requests wait for, where the controller itself waits: Redis, on a disk that is full.

Costs a request nothing but a count. Used on the background thread. Knows no request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from rekindle import lazily
from rekindle.exception import Error

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazily.module("asyncio")

#: A request that is not answered for so long has the controller asked why.
AFTER_S = 5.0


def in_words(waits: str) -> str:
    """What a program's user is told of what the controller has said."""
    return f"Waiting: {waits}; see that it runs and has room"


class SlowAnswers:
    """Of one client. ``ask``: what the controller waits for; "" where for nothing."""

    def __init__(self, ask: Callable[[], Awaitable[str]], tell: Callable[[str], None]) -> None:
        self._ask = ask
        self._tell = tell
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._told = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Within, an answer is waited for."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the first, or the one of a forked child
            self._loop, self._count, self._timer, self._looking = loop, 0, None, None
        self._count += 1
        self._arm()
        try:
            yield
        finally:
            self._count -= 1

    def _arm(self) -> None:
        if self._timer is None and self._looking is None and self._loop is not None:
            self._timer = self._loop.call_later(AFTER_S, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._count and self._loop is not None:
            self._looking = self._loop.create_task(self._look())

    async def _look(self) -> None:
        try:
            waits = await self._ask()
        except Error:  # who waits is told of it
            waits = ""
        finally:
            self._looking = None
        if waits and not self._told:
            self._tell(in_words(waits))
        self._told = bool(waits)
        if self._count:
            self._arm()
