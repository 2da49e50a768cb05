"""Chunks fetched by several threads, the most urgent first.

What a reader waits for goes before what the first starts touched, that before read-ahead, and the
rest comes when nothing else is wanted. Less urgent work leaves threads free for what is more
urgent. Memory is bounded by the threads: each holds one chunk.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from enum import IntEnum
from typing import Protocol

from rekindle.blobs.index import Index
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

THREADS = 16
#: The rest of a file waits until no reader has waited for so long.
_QUIET_S = 0.2
#: What is in the background is tried again so long after the store failed.
_PAUSE_S = 2.0


class Urgency(IntEnum):
    """Why a chunk is wanted."""

    READ = 0  # a reader waits
    FIRST = 1  # the first starts touched it
    AHEAD = 2  # a sequential reader will come to it
    REST = 3


#: Threads that work of an urgency may take.
_MOST = {Urgency.READ: THREADS, Urgency.FIRST: 12, Urgency.AHEAD: 8, Urgency.REST: 4}


class Wanted(Protocol):
    """A file whose chunks are fetched."""

    blob: str
    index: Index

    def wants(self, number: int) -> bool:
        """Whether a chunk is still to be fetched."""

    def arrived(self, number: int, data: bytes, received_bytes: int) -> None:
        """Keep a chunk. Raises OSError."""

    def failed(self, number: int, error: Exception) -> None:
        """Take in that a chunk could not be fetched, or not be kept."""


class Fetcher:
    """See the module."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._heap: list[tuple[Urgency, int, Wanted, int]] = []
        self._sequence = itertools.count()
        #: By file and not by blob: one that is opened again has not what its former self is sent.
        self._under_way: dict[tuple[Wanted, int], Urgency] = {}
        self._read_at = 0.0
        self._paused_until = 0.0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True)
            for number in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, file: Wanted, numbers: list[int], urgency: Urgency) -> None:
        """Have chunks fetched, in this order among those of the same urgency."""
        with self._changed:
            for number in numbers:
                heapq.heappush(self._heap, (urgency, next(self._sequence), file, number))
            if urgency is Urgency.READ:
                self._read_at = time.monotonic()
            self._changed.notify(len(numbers))

    def forget(self, file: Wanted) -> None:
        """Fetch no more of a file."""
        with self._changed:
            self._heap = [order for order in self._heap if order[2] is not file]
            heapq.heapify(self._heap)

    def close(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while (order := self._next()) is not None:
            _urgency, file, number = order
            try:
                self._fetch(file, number)
            except Exception as error:
                if not isinstance(error, BlobError | OSError):
                    log.exception("internal error", extra=kv(blob=file.blob, chunk=number))
                with self._changed:
                    self._paused_until = time.monotonic() + _PAUSE_S
                file.failed(number, error)
            finally:
                with self._changed:
                    self._under_way.pop((file, number), None)
                    self._changed.notify()

    def _fetch(self, file: Wanted, number: int) -> None:
        length = file.index.length_of(number)
        data, received = self._store.get_chunk(file.index.chunks[number], length, file.blob)
        file.arrived(number, data, received)

    def _next(self) -> tuple[Urgency, Wanted, int] | None:
        """The next chunk that may be begun; None at the end."""
        with self._changed:
            while not self._closed:
                pause_s: float | None = None
                while self._heap:
                    urgency, _, file, number = self._heap[0]
                    place = (file, number)
                    if place in self._under_way or not file.wants(number):
                        heapq.heappop(self._heap)
                        continue
                    pause_s = self._must_wait_s(urgency)
                    if pause_s == 0.0:
                        heapq.heappop(self._heap)
                        self._under_way[place] = urgency
                        return urgency, file, number
                    break
                self._changed.wait(pause_s)
            return None

    def _must_wait_s(self, urgency: Urgency) -> float | None:
        """0 where work of an urgency may begin; None: until something changes."""
        if urgency is Urgency.READ:
            return 0.0
        now = time.monotonic()
        if now < self._paused_until:
            return self._paused_until - now
        if len(self._under_way) >= _MOST[urgency]:
            return None
        if urgency is Urgency.REST:
            return max(0.0, self._read_at + _QUIET_S - now)
        return 0.0
