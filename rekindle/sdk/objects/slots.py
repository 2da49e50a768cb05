"""Under which slot and number the requests of a loop are asked, and where each of them is.

Redis remembers the last answer of a slot by the number of its request. A slot is another request's
only when nobody needs that answer any more. Knows nothing of connections.
"""

from __future__ import annotations

from enum import Enum

from rekindle.exception import InternalFailure


class Where(Enum):
    """Where the request of a slot is."""

    #: There is none.
    FREE = "free"
    #: Under its number nothing has been sent.
    HERE = "here"
    #: Sent there last, and not answered as far as is known: it may have been done.
    AT_REDIS = "at Redis"
    AT_CONTROLLER = "at the controller"
    #: Its caller has gone; what is said of that is on its way.
    LEFT = "left"
    #: What it was answered is put back by others, by its number.
    OWED = "owed"


_MOVES = {
    Where.FREE: {Where.HERE},
    Where.HERE: {Where.AT_REDIS, Where.AT_CONTROLLER, Where.LEFT, Where.FREE},
    Where.AT_REDIS: {Where.HERE, Where.AT_REDIS, Where.AT_CONTROLLER, Where.LEFT, Where.FREE},
    Where.AT_CONTROLLER: {Where.AT_CONTROLLER, Where.LEFT, Where.FREE},
    Where.LEFT: {Where.OWED, Where.FREE},
    Where.OWED: set(),
}


class Slot:
    """One at a time has it; only ``move`` changes where its request is."""

    __slots__ = ("_free", "index", "number", "where")

    def __init__(self, index: int, free: list[Slot]) -> None:
        self.index = index
        #: Of its request, among those that it had.
        self.number = 0
        self.where = Where.FREE
        self._free = free

    def move(self, to: Where) -> None:
        """Change the state. Raises InternalFailure for a step that must not happen."""
        if to not in _MOVES[self.where]:
            raise InternalFailure(f"slot {self.index} cannot go from {self.where} to {to}")
        self.where = to
        if to is Where.HERE:
            self.number += 1
        elif to is Where.FREE:
            self._free.append(self)


class Slots:
    """Of one loop and instance: as many as there were requests at a time."""

    def __init__(self) -> None:
        self._count = 0
        self._free: list[Slot] = []

    def take(self) -> Slot:
        """One for a request, under its next number."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = Slot(self._count, self._free)
            self._count += 1
        slot.move(Where.HERE)
        return slot
