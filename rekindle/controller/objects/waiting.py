"""Requests that wait until a Queue has an item, or room for one.

Whoever waits is tried again when something changed, the longest-waiting first, and told so when its
time is over. Nothing is polled: all changes of an instance come through its one controller.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

#: Object id and partition.
Place = tuple[bytes, bytes]


@dataclass(order=True, slots=True, unsafe_hash=True)
class Waiting:
    """One request that waits, or is tried again."""

    ticket: int
    #: Tries it again.
    attempt: Callable[[], None] = field(compare=False)
    #: When its time is over.
    timer: asyncio.TimerHandle | None = field(default=None, compare=False)
    #: When what is in its way goes by itself.
    room: asyncio.TimerHandle | None = field(default=None, compare=False)
    #: Answered, or its connection is gone.
    over: bool = field(default=False, compare=False)

    def end(self) -> None:
        """It is answered, or no one waits for it any more."""
        self.over = True
        for timer in (self.timer, self.room):
            if timer is not None:
                timer.cancel()
        self.timer = self.room = None


class Waitings:
    """All that wait for one kind of change."""

    def __init__(self) -> None:
        self._at: dict[Place, list[Waiting]] = {}

    def add(self, place: Place, one: Waiting) -> None:
        """It waits (again); its place in the line is that of its ticket."""
        heapq.heappush(self._at.setdefault(place, []), one)

    def wake(self, place: Place, most: int) -> None:
        """Try up to ``most`` of those at a place again."""
        line = self._at.get(place)
        while line and most > 0:
            one = heapq.heappop(line)
            if not one.over:
                most -= 1
                one.attempt()
        if line is not None and not line:
            self._at.pop(place, None)

    def wake_all(self, object_id: bytes) -> None:
        """Try all again that wait for an object."""
        for place in [place for place in self._at if place[0] == object_id]:
            for one in self._at.pop(place):
                if not one.over:
                    one.attempt()

    def forget(self, place: Place, one: Waiting) -> None:
        """It waits no longer."""
        line = self._at.get(place, [])
        if one in line:
            line.remove(one)
            heapq.heapify(line)
        if not line:
            self._at.pop(place, None)

    def __len__(self) -> int:
        return sum(map(len, self._at.values()))
