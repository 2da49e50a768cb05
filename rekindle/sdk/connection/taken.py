"""Reports to the controller which results have arrived for good, so that it need not keep them.

Sent a moment later, many at a time, on the background thread: no one waits for it. What could not
be sent is sent once more; what is never reported (a program that is killed) goes with the app, or
when its time is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from rekindle import lazily
from rekindle.exception import ConnectionError, Error, ServiceError

if TYPE_CHECKING:
    import asyncio
    import logging

    from rekindle.wire import rekindle_pb2 as pb
else:
    logging = lazily.module("logging")
    asyncio = lazily.module("asyncio")
    pb = lazily.module("rekindle.wire.rekindle_pb2")

_AFTER_S = 0.25
#: What could not be sent is sent again after this, or with what is sent before.
_AGAIN_S = 5.0
#: A controller that is away is not waited for: what it does not hear of it keeps for its time.
_PATIENCE_S = 2.0
#: Indexes, and calls, in one message.
_MOST_INDEXES, _MOST_CALLS = 8192, 1024
#: Where so much is to be sent already, what could not be sent is not kept for it.
_MOST_NOTES = 8 * _MOST_CALLS


class _Note:
    """Something of a call that was taken."""

    __slots__ = ("blobs", "call_id", "function_id", "indexes", "sent", "whole")

    def __init__(
        self, call_id: str, function_id: str, indexes: list[int], blobs: list[str], whole: bool
    ) -> None:
        self.call_id = call_id
        self.function_id = function_id
        self.indexes = indexes
        self.blobs = blobs
        self.whole = whole
        self.sent = False


class TakenReports:
    """What one client has taken and not reported.

    ``note`` is for any thread, the rest for its loop.
    ``loop``: of this process; a forked child makes reports of its own.
    ``send``: sends one report, waiting so many seconds for a controller that is away.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[pb.TakenRequest, float], Awaitable[None]],
    ) -> None:
        self.loop = loop
        self._send = send
        self._notes: deque[_Note] = deque()
        self._one_at_a_time = asyncio.Lock()
        self._sending: asyncio.Task[None] | None = None  # until it begins to
        #: Whether something was noted since the last report was put together.
        self._fresh = False

    def note(
        self,
        call_id: str,
        function_id: str,
        indexes: Iterable[int] = (),
        blobs: Iterable[str] = (),
        *,
        whole: bool = False,
    ) -> None:
        """Results of a call have come; ``whole``: nothing more of it will be asked for."""
        self._notes.append(_Note(call_id, function_id, list(indexes), list(blobs), whole))
        if not self._fresh and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._noted)

    def __bool__(self) -> bool:
        """Whether something is not reported yet."""
        return bool(self._notes) or self._one_at_a_time.locked()

    def _noted(self) -> None:
        # Only here: who notes something may be interrupted before the loop knows of it.
        if not self._fresh:
            self._fresh = True
            self._soon()

    def _soon(self, after_s: float = _AFTER_S) -> None:
        """Report after this time, and not before; where nothing is to be reported, not at all."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if self._notes:
            self._sending = asyncio.get_running_loop().create_task(self._send_later(after_s))

    async def _send_later(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._sending = None
        await self.flush()

    async def flush(self) -> None:
        """Report all of it, and wait for reports that are on their way."""
        async with self._one_at_a_time:
            while True:
                if not self._notes:
                    return
                self._fresh = False
                notes = self._next()
                request = pb.TakenRequest(calls=[_message(note) for note in notes])
                try:
                    await self._send(request, _PATIENCE_S)
                except (ServiceError, ConnectionError) as error:
                    self._put_back(notes, error)
                    return
                except Error as error:
                    _say_kept(len(notes), error)

    def end(self) -> None:
        """Report nothing more of it."""
        self._notes.clear()
        self._fresh = False
        self._soon()

    def _put_back(self, notes: list[_Note], error: Error) -> None:
        """No answer: once more, with what is to be sent next."""
        again = [note for note in notes if not note.sent]
        if len(self._notes) + len(again) > _MOST_NOTES:
            again = []
        if len(again) < len(notes):
            _say_kept(len(notes) - len(again), error)
        for note in again:
            note.sent = True
        self._notes.extendleft(reversed(again))
        self._soon(_AFTER_S if self._fresh else _AGAIN_S)

    def _next(self) -> list[_Note]:
        calls: dict[str, _Note] = {}
        count = 0
        while self._notes and count < _MOST_INDEXES and len(calls) < _MOST_CALLS:
            note = self._notes.popleft()
            count += len(note.indexes)
            known = calls.setdefault(note.call_id, note)
            if known is not note:
                known.indexes += note.indexes
                known.blobs += note.blobs
                known.whole = known.whole or note.whole
                known.sent = known.sent and note.sent
        return list(calls.values())


def _say_kept(calls: int, error: Error) -> None:
    logging.getLogger(__name__).info(
        "results of %d calls are kept for their time: %s", calls, error
    )


def _message(note: _Note) -> pb.TakenCall:
    made = pb.TakenCall(
        call_id=note.call_id, function_id=note.function_id, whole=note.whole, blobs=note.blobs
    )
    if note.whole:
        return made
    last = -2
    for index in sorted(note.indexes):
        if index == last + 1:
            made.last[-1] = index
        else:
            made.first.append(index)
            made.last.append(index)
        last = index
    return made
