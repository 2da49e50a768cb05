"""Results on their way to the caller: which have come, which are due, and what they take.

The background thread fills it, the caller's empties it. What is held is bounded: where the caller
is slow the reading waits; where results are to be given in order and the one that is due has not
come, those furthest behind it are dropped, and requested again later: the controller keeps them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from rekindle.sdk.calls.callers import Signal
from rekindle.sdk.connection.seen import Arrived, Seen

#: What the results that a map or ``iter()`` holds in this process may take, about.
MAX_BYTES = 64 * 1024 * 1024
#: Given to the caller at once, at most.
_TAKE_BYTES = 4 * 1024 * 1024
_TAKE = 1024


class ResultBuffer:
    """The results of one call between the reading of them and the caller.

    ``add``, ``fail``, ``end`` and ``room`` are for the background thread, ``take`` for the
    caller's; ``wake`` is set when ``take`` has something to give.
    """

    def __init__(self, ordered: bool, wake: Signal, *, first: int = 0) -> None:
        self.seen = Seen(first)
        #: Where not 0, only results below it are taken: those from it on were dropped.
        self.cut = 0
        self._ordered = ordered
        self._wake = wake
        self._lock = threading.Lock()
        self._due: list[Arrived] = []  # in the order of their coming
        self._waiting: dict[int, bytes] = {}  # to be given in order
        self._next = first
        self._bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self._on_room: Callable[[], None] | None = None

    # ---- the background thread's side ----------------------------------------------------------

    def add(self, batch: list[Arrived]) -> None:
        """Take results that came; those that came before are dropped."""
        seen, cut = self.seen, self.cut
        fresh = [one for one in batch if not 0 < cut <= one[0] and seen.add(one[0])]
        with self._lock:
            self._bytes += sum(len(raw) for _, raw in fresh)
            if self._ordered:
                self._waiting.update(fresh)
            else:
                self._due.extend(fresh)
        self._wake.set()

    def crowded(self) -> bool:
        """Whether no more should be read now."""
        return self._bytes > MAX_BYTES

    def drop_far_end(self) -> bool:
        """Drop half, from the far end.

        False where the caller has something to take, or has just taken what was too much.
        """
        with self._lock:
            if not self._ordered or self._next in self._waiting:
                return False
            if self._bytes <= MAX_BYTES // 2:
                return False  # to forget what came without dropping it would request it again
            for index in sorted(self._waiting, reverse=True):
                if self._bytes <= MAX_BYTES // 2:
                    break
                self._bytes -= len(self._waiting.pop(index))
                self.cut = index
            self.seen.forget_from(self.cut)
            return True

    async def room(self) -> None:
        """Return when the caller has taken half of what is there, or all that is due."""
        loop, roomy = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if self._bytes <= MAX_BYTES // 2 or not self._is_due():
                return
            self._on_room = lambda: _call(loop, roomy.set)
        await roomy.wait()

    def end(self) -> None:
        """All have come."""
        self._ended = True
        self._wake.set()

    def fail(self, error: BaseException) -> None:
        """No more will come; the caller is to have this raised after what came."""
        self._error = error
        self._wake.set()

    # ---- the caller's side ---------------------------------------------------------------------

    def take(self) -> list[Arrived] | None:
        """What is due, at most a thousand or so; None at the end. Raises what ``fail`` got."""
        ended, error = self._ended, self._error  # before: then nothing comes after them
        with self._lock:
            taken = self._take_ordered() if self._ordered else self._take_any()
            self._bytes -= sum(len(raw) for _, raw in taken)
            if self._on_room is not None and (self._bytes <= MAX_BYTES // 2 or not self._is_due()):
                self._on_room()
                self._on_room = None
        if taken:
            return taken
        if error is not None:
            raise error
        return None if ended else []

    def _is_due(self) -> bool:
        return self._next in self._waiting if self._ordered else bool(self._due)

    def _take_any(self) -> list[Arrived]:
        if len(self._due) <= _TAKE and self._bytes <= _TAKE_BYTES:
            taken, self._due = self._due, []
            return taken
        count = size = 0
        for _, raw in self._due[:_TAKE]:
            count, size = count + 1, size + len(raw)
            if size >= _TAKE_BYTES:
                break
        taken = self._due[:count]
        del self._due[:count]
        return taken

    def _take_ordered(self) -> list[Arrived]:
        taken: list[Arrived] = []
        size = 0
        while len(taken) < _TAKE and size < _TAKE_BYTES and self._next in self._waiting:
            raw = self._waiting.pop(self._next)
            taken.append((self._next, raw))
            size += len(raw)
            self._next += 1
        return taken


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(what)
