"""Requests that wait until a Queue has an item, or room for one.

Whoever waits is tried again when something changed, the longest-waiting first, and told so when its
time is over. Nothing is polled: scripts on Redis publish what somebody waits for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
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
        """Have it tried no more: it is answered, or no one waits for it."""
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
        """Put a request in line, again where it was tried; its ticket gives its place."""
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
            self._wake_place(place)

    def wake_everyone(self) -> None:
        """Try all again."""
        for place in list(self._at):
            self._wake_place(place)

    def _wake_place(self, place: Place) -> None:
        for one in sorted(self._at.pop(place)):
            if not one.over:
                one.attempt()

    def forget(self, place: Place, one: Waiting) -> None:
        """Take a request out of the line."""
        line = self._at.get(place, [])
        if one in line:
            line.remove(one)
            heapq.heapify(line)
        if not line:
            self._at.pop(place, None)

    def __len__(self) -> int:
        return sum(map(len, self._at.values()))


#: What may be waited for: an item, room for some, or more to look at.
ITEM, ROOM, MORE = "i", "r", "w"
_KINDS = (ITEM, ROOM, MORE)
_ALL = 1 << 30


class Lines:
    """All lines of an instance, and where Redis notes that somebody stands in one.

    The note is written by the script that found nothing, and taken away here when no request is
    left that waits, or may: by ``nobody``, a command that goes the way of those scripts, so that
    neither overtakes the other.
    """

    def __init__(self, nobody: Callable[[str, Place], None]) -> None:
        self._nobody = nobody
        self._lines = {kind: Waitings() for kind in _KINDS}
        #: Requests that wait, or are on their way and may come to.
        self._present: Counter[tuple[str, Place]] = Counter()
        #: Where Redis has a note.
        self._noted: set[tuple[str, Place]] = set()
        self._tickets = itertools.count()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def waiting_for(self, object_id: bytes) -> int:
        """How many requests wait at a Queue."""
        return sum(count for (_, place), count in self._present.items() if place[0] == object_id)

    def ticket(self) -> int:
        """A place in the line."""
        return next(self._tickets)

    def arrives(self, kind: str, place: Place) -> None:
        """Count a request that may come to wait."""
        self._present[kind, place] += 1

    def noted(self, kind: str, place: Place) -> None:
        """Remember that Redis has a note of somebody who waits there."""
        self._noted.add((kind, place))

    def waits(self, kind: str, place: Place, one: Waiting) -> None:
        """Put a request in line that has found nothing."""
        self._lines[kind].add(place, one)

    def forget(self, kind: str, place: Place, one: Waiting) -> None:
        """Take a request out of its line: it is not to be tried again."""
        self._lines[kind].forget(place, one)

    def leaves(self, kind: str, place: Place) -> None:
        """Count an answered request no more; with the last one Redis's note is taken away."""
        self._present[kind, place] -= 1
        if not self._present[kind, place]:
            del self._present[kind, place]
            if (kind, place) in self._noted:
                self._noted.discard((kind, place))
                self._nobody(kind, place)

    def wake(self, kind: str, place: Place, most: int) -> None:
        """Try up to ``most`` of those that wait for it again."""
        self._lines[kind].wake(place, most)

    def notify(self, object_id: bytes, message: bytes) -> None:
        """Wake those that a script's message is for: it says what there is (items or room), how
        much, and in which partition."""
        what, _, partition = message.partition(b":")
        kind, number = what[:1].decode(errors="replace"), what[1:]
        if kind in _KINDS and number.isdigit():
            most = _ALL if kind == MORE else int(number)
            self.wake(kind, (object_id, partition), most)

    def wake_all(self, object_id: bytes) -> None:
        """Try all again that wait for an object."""
        for line in self._lines.values():
            line.wake_all(object_id)

    def wake_everyone(self) -> None:
        """Try all again: what was published may not have been heard."""
        for line in self._lines.values():
            line.wake_everyone()
