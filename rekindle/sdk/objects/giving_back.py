"""What a get took of a Queue for one who has not got it goes back.

A get that is interrupted, or whose answer is lost, may have taken items all the same. They go back
by its number, under which Redis keeps for two minutes what it took: nobody has to know them, and to
ask for it twice puts nothing back twice. Items that have come go back as they are. Where that
cannot be said at once a thread says it, for as long as a controller is waited for. Standard library
only.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from rekindle.exception import ConnectionError, Error, NotFoundError, ServiceError
from rekindle.sdk import notes
from rekindle.sdk.connection.patience import connect_timeout_s
from rekindle.wire.object_frames import Op, Request
from rekindle.wire.usercode import came_by_signal

#: Who is interrupted waits so long for it, so that the next look finds the items, as a rule.
_AT_ONCE_S = 1.0
_AGAIN_S = 0.2


class Owed(NamedTuple):
    """To be put back: asked as the request of this number of a session, any number of times."""

    object_id: bytes
    session: bytes
    number: int
    back: Request


def returning(request: Request, slot: int) -> Request:
    """Puts back what a get of this slot took; sent under the get's number, in whatever slot."""
    if request.op == Op.QUEUE_RETURN:  # once more
        return request
    return Request(Op.QUEUE_RETURN, partition=request.partition, quantity=slot)


def is_open(error: BaseException) -> bool:
    """Whether a request that ended so may have been done, and nobody has what came of it."""
    if isinstance(error, Error) and not isinstance(error, (ConnectionError, ServiceError)):
        return came_by_signal(error)
    return True


def goes_on(request: Request, error: BaseException) -> bool:
    """Whether a request that ended so is done in the background, with what else is to be told."""
    return request.op == Op.QUEUE_RETURN and isinstance(error, (ConnectionError, ServiceError))


@dataclass(eq=False)
class _Entry:
    owed: Owed
    since: float
    done: threading.Event = field(default_factory=threading.Event)


class GivingBack:
    """Has things put back at one instance, one after the other, by two threads at most.

    A program that was interrupted (by a signal's exception, or a cancellation) waits for it at its
    end. One that was told that the controller or Redis is away may end before: that is the other
    thread.
    """

    def __init__(self, ask: Callable[[Owed, float], object]) -> None:
        """``ask`` has it done, waiting for a controller from that time (time.monotonic) on. Raises
        what the controller raises."""
        self._lines = {told: _Line(ask, daemon=told) for told in (False, True)}

    def give(self, owed: Owed, error: BaseException, *, blocks: bool) -> None:
        """Have a thread ask until it is answered.

        ``error``: how the call ended that it is about. ``blocks``: whether this thread may wait a
        moment for it.
        """
        told = isinstance(error, Error)
        entry = _Entry(owed, time.monotonic())
        if self._lines[told].add(entry) and blocks and not told:
            entry.done.wait(_AT_ONCE_S)


class _Line:
    """What waits for one thread, which is there while there is any."""

    def __init__(self, ask: Callable[[Owed, float], object], *, daemon: bool) -> None:
        self._ask = ask
        self._daemon = daemon
        # A signal's handler, or what the garbage collector runs, may come here within itself.
        self._lock = threading.RLock()
        self._entries: deque[_Entry] = deque()
        self._runs = False

    def add(self, entry: _Entry) -> bool:
        """Whether there is a thread for it."""
        with self._lock:
            self._entries.append(entry)
            if not self._runs:
                name = "rekindle-giving-back"
                try:
                    threading.Thread(target=self._run, name=name, daemon=self._daemon).start()
                except RuntimeError as why:  # no thread can be had, or the program is at its end
                    self._entries.remove(entry)
                    _say_lost(1, why)
                    return False
                self._runs = True  # it needs the lock to end
            return True

    def _run(self) -> None:
        lost = 0
        failed: Error | None = None
        reason = failed
        while (entry := self._next()) is not None:
            # One whose time is over is told what the one before it was told just now.
            if failed is None or not _is_over(entry):
                failed = self._put_back(entry)
            if failed is not None:
                lost, reason = lost + 1, failed
            entry.done.set()
        if reason is not None:
            _say_lost(lost, reason)

    def _next(self) -> _Entry | None:
        with self._lock:
            if self._entries:
                return self._entries.popleft()
            self._runs = False
            return None

    def _put_back(self, entry: _Entry) -> Error | None:
        """None once it is back; else why not."""
        while True:
            try:
                self._ask(entry.owed, entry.since)
            except NotFoundError:  # the Queue has been deleted
                return None
            except ServiceError as error:  # the controller is there, and Redis is not
                if _is_over(entry):
                    return error
                time.sleep(_AGAIN_S)
            except Error as error:
                return error
            else:
                return None


def _is_over(entry: _Entry) -> bool:
    return time.monotonic() > entry.since + connect_timeout_s()


def _say_lost(gets: int, why: Exception) -> None:
    who = "an interrupted get()" if gets == 1 else f"{gets} interrupted get()s"
    notes.write_note(f"what {who} may have taken out of a Queue could not be put back: {why}")
