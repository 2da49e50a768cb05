"""What one call takes out of a Queue: how it goes back, until the program has it.

A signal's exception or a cancellation may come between any two steps of a call. So it is noted
before each step what is to be put back should the call end there, all in one assignment; who runs
the call (``steps.py``) has it put back when the call fails. Knows nothing of connections. Standard
library only.
"""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

from rekindle.sdk.objects.giving_back import Owed, is_open
from rekindle.wire.object_frames import SESSION_BYTES, Op, Reply, Request, Status, unpack_list

#: Requests that take items, or put back some of those that their call has taken.
OF_ITEMS = frozenset((int(Op.QUEUE_GET), int(Op.QUEUE_RETURN)))


class _Here(NamedTuple):
    """Items that have come; they go back as they are, whatever is remembered by their number."""

    object_id: bytes
    partition: bytes
    reply: Reply
    #: Of how many, from the first on, nothing else puts them back; of all without.
    most: int | None = None

    def items(self) -> list[bytes]:
        """Those."""
        return self._all()[: self.most]

    def _all(self) -> list[bytes]:
        reply = self.reply
        return unpack_list(reply.body, 1) if reply.parts is None else reply.parts

    def but_last(self, number: int) -> _Here:
        """But for so many, which something else puts back."""
        return self._replace(most=len(self._all()) - number)

    def owed(self) -> Owed:
        """They, as the first request of a session of their own."""
        back = Request(Op.QUEUE_RETURN, partition=self.partition, parts=self.items())
        return Owed(self.object_id, os.urandom(SESSION_BYTES), 1, back)


class PutsBack(Protocol):
    """Who is told what is to be put back (link.Link)."""

    def give_back(self, owed: Owed, error: BaseException, *, blocks: bool) -> None:
        """Have it put back, in whatever time that takes."""


class Taking:
    """Of one call."""

    __slots__ = ("_by", "_notes")
    _by: PutsBack

    def __init__(self) -> None:
        #: In the order in which they are to be put back.
        self._notes: tuple[Owed | _Here, ...] = ()

    def asks(self, owed: Owed, by: PutsBack) -> None:
        """A get is about to be sent, or items of one that has come are to be put back."""
        self._by = by
        here = self._notes[-1] if self._notes else None
        if owed.back.parts is not None and isinstance(here, _Here):
            self._notes = (owed, here.but_last(len(owed.back.parts)))
        else:
            self._notes = (owed,)

    def answered(self, object_id: bytes, request: Request, reply: Reply) -> None:
        """The reply has come, and carries no error."""
        if request.op == Op.QUEUE_RETURN:
            self.is_left()
        elif reply.status == Status.DONE:
            self._notes = (_Here(object_id, request.partition, reply),)
        else:
            self.took_nothing()

    def took_nothing(self) -> None:
        """Nothing has been taken by what was asked."""
        self._notes = ()

    def owed(self, error: BaseException) -> Owed | None:
        """What is to be put back of a request that ended by ``error``."""
        first = self._notes[0] if self._notes else None
        return first if isinstance(first, Owed) and is_open(error) else None

    def is_left(self) -> None:
        """Who was asked has put back what was owed; the program may get the rest."""
        if self._notes and isinstance(self._notes[0], Owed):
            self._notes = self._notes[1:]

    def fails(self, error: BaseException, *, blocks: bool) -> None:
        """The call ends by ``error``, and the program has nothing of what was taken: it goes back.

        ``blocks``: whether this thread may wait a moment for it.
        """
        if self._notes and is_open(error):
            for one in self._notes:
                owed = one if isinstance(one, Owed) else one.owed()
                self._by.give_back(owed, error, blocks=blocks)
