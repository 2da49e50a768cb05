"""A blob that is read before it has arrived: waits for what is not there, notes what is asked.

A reader waits for a bounded time; what is read is what was put into the store, or an error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from rekindle.blobs.index import Index
from rekindle.blobs.lazy.fetcher import Fetcher, Urgency
from rekindle.blobs.lazy.streams import Streams
from rekindle.blobs.sparse import SparseFile
from rekindle.exception import BlobError, BlobStoreError

#: Chunks that the first readers touched, at most: what is beyond is no start any more.
MOST_NOTED = 65536
#: A failed chunk that a reader waits for is asked for again so often.
_AGAIN_S = 0.25


class LazyFile:
    """See the module. ``lost`` is called where a chunk that nobody reads yet cannot be had, with
    the cause."""

    def __init__(
        self,
        sparse: SparseFile,
        fetcher: Fetcher,
        url: str,
        *,
        wait_s: float,
        lost: Callable[[LazyFile, Exception], None],
    ) -> None:
        self.blob = sparse.index.id
        self.index: Index = sparse.index
        self.sparse = sparse
        self.url = url
        self.opened = 0  # by how many it is open; mappings and mounts count
        self.used_at = time.monotonic()
        self.received_bytes = 0
        #: Chunks in the order in which they were touched first.
        self.touched: dict[int, None] = {}
        self._fetcher = fetcher
        self._wait_s = wait_s
        self._lost = lost
        self._streams = Streams(len(self.index.chunks))
        self._changed = threading.Condition()
        self._reasons: dict[int, Exception] = {}
        self._waiting: dict[int, int] = {}  # chunk -> readers that wait for it
        #: Of the chunks that the first readers are known to touch, those that are not here.
        self._first_left: set[int] = set()
        #: Who waits for all of it.
        self._wanting: list[Callable[[Exception | None], None]] = []
        self._writing = 0
        self._closed = False

    # ---- reading -------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a range, fewer at the end. Raises BlobError, or OSError for a full disk."""
        numbers = self.index.covering(offset, size)
        missing = [number for number in numbers if not self.sparse.has(number)]
        ahead: list[int] = []
        with self._changed:
            for number in numbers:
                if number not in self.touched and len(self.touched) < MOST_NOTED:
                    self.touched[number] = None
                ahead += self._streams.touched(number)
        # Who is known needs no guessing: it would take bandwidth from what is known.
        ahead = [] if self._first_left else [n for n in ahead if not self.sparse.has(n)]
        if missing:
            self._fetcher.ask(self, missing, Urgency.READ)
        if ahead:
            self._fetcher.ask(self, ahead, Urgency.AHEAD)
        if missing:
            self._wait_for(missing)
        return self.sparse.read(offset, size)

    def _wait_for(self, numbers: list[int]) -> None:
        began = time.monotonic()
        with self._changed:
            for number in numbers:
                if not self._waiting.get(number):
                    self._reasons.pop(number, None)  # of readers who gave up
                self._waiting[number] = self._waiting.get(number, 0) + 1
            try:
                for number in numbers:
                    self._wait_for_one(number, began)
            finally:
                for number in numbers:
                    self._waiting[number] -= 1
                    if not self._waiting[number]:
                        del self._waiting[number]

    def _wait_for_one(self, number: int, began: float) -> None:
        last: Exception | None = None
        while not self.sparse.has(number):
            reason = self._reasons.get(number)
            failed = reason is not None and reason is not last
            if failed and not isinstance(reason, BlobStoreError):
                assert reason is not None
                raise reason  # to ask again would end the same
            last = reason
            left_s = began + self._wait_s - time.monotonic()
            if left_s <= 0:
                raise BlobStoreError(
                    f"a part of blob {self.blob} (chunk {number} of {len(self.index.chunks)}) did "
                    f"not come from the store {self.url} in {self._wait_s:g} s"
                    + (f": {last}" if last else "; is it up, and reachable from this node?")
                )
            self._changed.wait(min(_AGAIN_S, left_s) if failed else left_s)
            if failed and not self.sparse.has(number):
                self._fetcher.ask(self, [number], Urgency.READ)

    def first(self, numbers: Iterable[int]) -> None:
        """Fetch chunks that the first readers are known to touch, before they do."""
        wanted = [number for number in numbers if self.wants_at_all(number)]
        with self._changed:
            self._first_left.update(wanted)
        self._fetcher.ask(self, wanted, Urgency.FIRST)

    def rest(self, done: Callable[[Exception | None], None]) -> None:
        """Fetch all that is missing, when nothing else is to be done.

        ``done`` is called once: with None when all is here, else with why it will not be.
        """
        with self._changed:
            closed = self._closed
            if not closed:
                self._wanting.append(done)
        if closed:
            done(self._given_up())
            return
        self._fetcher.ask(self, list(self.sparse.missing()), Urgency.REST)
        if self.sparse.is_complete:
            self._settle(None)

    # ---- for the fetcher -----------------------------------------------------------------------

    def wants_at_all(self, number: int) -> bool:
        """Whether there is such a chunk, and it is not here."""
        return 0 <= number < len(self.index.chunks) and not self.sparse.has(number)

    def wants(self, number: int) -> bool:
        """See Wanted."""
        return not self._closed and not self.sparse.has(number)

    def arrived(self, number: int, data: bytes, received_bytes: int) -> None:
        """See Wanted."""
        with self._changed:
            if self._closed:
                return  # its descriptors may be another file's by now
            self._writing += 1
        try:
            self.sparse.write(number, data)
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()
        with self._changed:
            self.received_bytes += received_bytes
            self._first_left.discard(number)
            self._reasons.pop(number, None)
            self._changed.notify_all()
        if self.sparse.is_complete:
            self._settle(None)

    def failed(self, number: int, error: Exception) -> None:
        """See Wanted."""
        with self._changed:
            self._first_left.discard(number)
            if number in self._waiting:
                self._reasons[number] = error
                self._changed.notify_all()
            wanted = bool(self._wanting) and not self._closed
        if not wanted:
            return
        if isinstance(error, BlobStoreError | OSError):
            # The store may come back, and a disk be made room on.
            self._fetcher.ask(self, [number], Urgency.REST)
        else:
            self._lost(self, error)
            self._settle(error)

    def _settle(self, error: Exception | None) -> None:
        with self._changed:
            wanting, self._wanting = self._wanting, []
        for done in wanting:
            done(error)

    def close(self) -> None:
        """Let go of it; whoever still waits for all of it is told."""
        with self._changed:
            self._closed = True
            while self._writing:
                self._changed.wait()
        self._fetcher.forget(self)
        self.sparse.close()
        self._settle(self._given_up())

    def _given_up(self) -> BlobError:
        return BlobError(f"blob {self.blob} was given up before all of it was here")


def in_words(error: Exception, file: LazyFile) -> str:
    """Why a read failed: names blob and store."""
    if isinstance(error, BlobError):
        return str(error)
    return (
        f"a part of blob {file.blob} from the store {file.url} could not be kept in "
        f"{file.sparse.folder}: {error}"
    )
