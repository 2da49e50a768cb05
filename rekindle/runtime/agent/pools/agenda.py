"""Which pools the scheduler is to look at.

A pool in which something has changed puts itself on the agenda, and that is all it does about it:
one pass (scheduler.py) acts, in a later turn of the loop, once for whatever has changed till then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

#: Function id, and digest of the parameters.
PoolKey = tuple[str, str]


class Agenda:
    """Pools that are due, now or at a time."""

    def __init__(self, run: Callable[[Iterable[PoolKey]], None]) -> None:
        self._run = run
        self._due: dict[PoolKey, None] = {}
        self._timers: dict[PoolKey, asyncio.TimerHandle] = {}

    def add(self, key: PoolKey) -> None:
        """Something has changed in this pool."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._pass)
        self._due[key] = None

    def add_later(self, key: PoolKey, delay_s: float) -> None:
        """Look at this pool when so much time has passed; the first of several wishes counts."""
        if key not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(delay_s, self._add_now, key)

    def act(self) -> None:
        """Have the pass now, and not in the next turn, where one is due; not from within a pass."""
        if self._due:
            self._pass()

    def remove(self, key: PoolKey) -> None:
        """This pool is closed: its time does not come any more."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def _add_now(self, key: PoolKey) -> None:
        del self._timers[key]
        self.add(key)

    def _pass(self) -> None:
        due, self._due = self._due, {}
        if due:  # else ``act`` was before
            self._run(due)
