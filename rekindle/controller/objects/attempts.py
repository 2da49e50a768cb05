"""A request about a Queue, tried until it can be done, its time is over, or no one wants it.

Knows nothing of sockets and of Redis; what it needs of them is given to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rekindle.controller.objects.catalog import Shared
from rekindle.controller.objects.waiting import ITEM, MORE, ROOM, Lines, Place, Waiting
from rekindle.exception import Error, NotFoundError
from rekindle.wire.object_commands import Caller, outcome
from rekindle.wire.object_frames import Op, Request, Status, unpack_list

#: Gets status and body, or the error, of a request; once.
Answer = Callable[[int, bytes | Error], None]
_WAITS_FOR = {int(Op.QUEUE_GET): ITEM, int(Op.QUEUE_PUT): ROOM, int(Op.QUEUE_PEEK): MORE}


@dataclass(eq=False)
class Session:
    """One connection of a program."""

    name: bytes = b""
    closed: bool = False
    #: By slot: what is tried, or waits.
    attempts: dict[int, Attempt] = field(default_factory=dict)
    holds: set[bytes] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Means:
    """What an attempt needs."""

    lines: Lines
    #: Raises NotFoundError where an object is gone.
    check: Callable[[bytes], object]
    send: Callable[[Shared, Request, Caller, Callable[[Any], None]], None]
    #: Puts back what was taken for one who is gone.
    put_back: Callable[[Shared, Request, Caller, list[bytes], Callable[[], None]], None]


class Attempt:
    """One request."""

    __slots__ = (
        *("_abandoned", "_answer", "_caller", "_expired", "_kind", "_means", "_one", "_over_by"),
        *("_place", "_request", "_session", "_trying", "_waiting"),
    )

    def __init__(
        self,
        means: Means,
        session: Session,
        one: Shared,
        request: Request,
        caller: Caller,
        answer: Answer,
    ) -> None:
        """``caller.waits``: the channel to be told on, where the request may wait."""
        self._means = means
        self._session = session
        self._one = one
        self._request = request
        self._caller = caller
        self._answer = answer
        self._place: Place = (request.object_id, request.partition)
        self._kind = _WAITS_FOR.get(request.op, "") if caller.waits else ""
        self._waiting: Waiting | None = None
        #: How it ends when its time is over.
        self._over_by = Status.EMPTY
        #: Whether it is on its way to Redis: then its reply says how it ended.
        self._trying = False
        self._expired = False
        #: No one wants what it takes.
        self._abandoned = False
        if self._kind:
            means.lines.arrives(self._kind, self._place)

    def try_it(self) -> None:
        """Send it, unless its Queue is gone."""
        try:
            self._means.check(self._request.object_id)
        except NotFoundError as error:
            self._end(Status.ERROR, error)
            return
        self._trying = True
        self._means.send(self._one, self._request, self._caller, self._replied)

    def abandon(self) -> None:
        """Whoever asked has gone, or was cancelled: what is taken all the same is put back."""
        self._abandoned = True
        self._over()

    def _replied(self, reply: Any) -> None:
        self._trying = False
        if not isinstance(reply, bytes):
            self._end(Status.ERROR, reply)
            return
        request = self._request
        try:
            done = outcome(request, reply)
        except Error as error:
            self._end(Status.ERROR, error)
            return
        if done is None or done.status in (Status.EMPTY, Status.FULL):
            left_ms = int(done.body or -1) if done is not None else -1
            self._wait(Status.EMPTY if done is None else Status(done.status), left_ms)
        elif self._abandoned and request.op == Op.QUEUE_GET:
            items = unpack_list(done.body, 1)
            # The answer comes last: from then on its slot may be another request's.
            over = partial(self._end, Status.EMPTY, b"")
            self._means.put_back(self._one, request, self._caller, items, over)
        else:
            self._end(Status.DONE, done.body)

    def _wait(self, status: Status, left_ms: int) -> None:
        """Until something changes; ``left_ms``: what is there goes by itself after that."""
        if self._kind:
            self._means.lines.noted(self._kind, self._place)
        if not self._kind or self._expired:
            self._end(status, b"")
            return
        waiting, wait_s = self._waiting, self._request.wait_s
        lines, loop = self._means.lines, asyncio.get_running_loop()
        self._over_by = status
        if waiting is None:
            waiting = self._waiting = Waiting(lines.ticket(), self.try_it)
            if wait_s > 0:
                waiting.timer = loop.call_later(wait_s, self._over)
        if waiting.room is not None:
            waiting.room.cancel()
        if left_ms >= 0:
            delay_s = left_ms / 1000 + 0.001
            waiting.room = loop.call_later(delay_s, lines.wake, self._kind, self._place, 1)
        lines.waits(self._kind, self._place, waiting)

    def _over(self) -> None:
        self._expired = True
        if not self._trying and self._waiting is not None:
            self._means.lines.forget(self._kind, self._place, self._waiting)
            self._end(self._over_by, b"")

    def _end(self, status: int, body: bytes | Error) -> None:
        if self._waiting is not None:
            self._waiting.end()
        if self._session.attempts.get(self._caller.slot) is self:
            del self._session.attempts[self._caller.slot]
        if self._kind:
            self._means.lines.leaves(self._kind, self._place)
            self._kind = ""
        self._answer(status, body)
