"""Turns of starts that are asked for at the same moment: a few work at a time, the others wait.

All at once they would share the processors, and the first would be ready when the last one is.
Groups take turns, so that none waits behind all of another's; and a turn ends by itself after a
while, so that none waits for the whole of a start that takes long. Knows nothing of starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field

#: A turn that takes longer goes on beside the next ones.
LONGEST_S = 0.2


def places_here() -> int:
    """One more than there are processors: a start waits for others' answers now and then."""
    return len(os.sched_getaffinity(0)) + 1


@dataclass(eq=False)
class Turns:
    """So many at a time."""

    places: int = field(default_factory=places_here)
    longest_s: float = LONGEST_S
    _taken: int = 0
    #: Those that wait, oldest first, by group; the group whose turn is next comes first.
    _waiting: dict[Hashable, deque[asyncio.Future[None]]] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def turn(self, group: Hashable) -> AsyncIterator[bool]:
        """Wait for one's turn, which is in the block; whether it had to be waited for."""
        waited = self._taken >= self.places
        if waited:
            await self._wait(group)
        else:
            self._taken += 1
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if not given_back:
                given_back = True
                self._next()

        over = asyncio.get_running_loop().call_later(self.longest_s, give_back)
        try:
            yield waited
        finally:
            over.cancel()
            give_back()

    async def _wait(self, group: Hashable) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._next()  # it was called just now
            raise

    def _next(self) -> None:
        """A place is free: for the next one that still waits, if there is one."""
        while self._waiting:
            group, waiting = next(iter(self._waiting.items()))
            del self._waiting[group]
            called = waiting.popleft()
            if waiting:
                self._waiting[group] = waiting  # behind the other groups
            if not called.done():
                called.set_result(None)
                return
        self._taken -= 1
