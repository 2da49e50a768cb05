"""What is called when something has taken too long; nearly always it has not.

A timer of the loop that is cancelled stays in the loop's queue for a while, and others are sorted
in among such ones: with several for each start that is a part of what a start costs. Here one that
is cancelled was an entry in a dictionary, and one timer goes off for all.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Deadline:
    """Something that may take until ``at``, in seconds of the loop's time."""

    at: float
    call: Callable[[], object]
    _all: dict[Deadline, None]

    def cancel(self) -> None:
        """Call it off: it was in time, or does not count any more."""
        self._all.pop(self, None)


class Deadlines:
    """Of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._all: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._goes_off = math.inf

    def add(self, delay_s: float, call: Callable[[], object]) -> Deadline:
        """Have something called after ``delay_s``, unless it is cancelled before."""
        deadline = Deadline(self.loop.time() + delay_s, call, self._all)
        self._all[deadline] = None
        if deadline.at < self._goes_off:
            self._set(deadline.at)
        return deadline

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._goes_off, self._timer = at, None
        if at < math.inf:
            self._timer = self.loop.call_at(at, self._look)

    def _look(self) -> None:
        now, self._timer = self.loop.time(), None
        # Several are over at one look where the loop was busy: the first may call others off.
        over = sorted((one for one in self._all if one.at <= now), key=lambda one: one.at)
        self._set(min((one.at for one in self._all if one.at > now), default=math.inf))
        for one in over:  # each in a turn of its own: an error is that one's alone
            self.loop.call_soon(self._miss, one)

    def _miss(self, one: Deadline) -> None:
        if one in self._all:  # else it was cancelled by one before it
            del self._all[one]
            one.call()


_here: Deadlines | None = None


def here() -> Deadlines:
    """Those of the loop that runs; an agent has one."""
    global _here
    loop = asyncio.get_running_loop()
    if _here is None or _here.loop is not loop:
        _here = Deadlines(loop)
    return _here
