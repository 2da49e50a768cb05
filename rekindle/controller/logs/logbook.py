"""Log lines of apps: numbered as they arrive, shown to who follows, stored a moment later.

Lines are not on the way of a result: they are stored in batches. A controller that
is killed may lose the last batch; a number is never given twice.

A message is what was written at once: lines that have a number each, of which it says the last
(wire/lines.py). All bounds are in lines.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.controller.logs.logfilter import LogFilter
from rekindle.controller.settings import Settings
from rekindle.controller.storage import stored_messages
from rekindle.controller.storage.log_store import LogStore
from rekindle.controller.storage.redis_link import RefusedError
from rekindle.counted import counted
from rekindle.wire import lines as chunks
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv
from rekindle.wire.phases import now_ns

log = logging.getLogger(__name__)

_RECENT = 2000  # lines of an app in memory
#: Lines that someone follows and has not been sent yet, or that are not stored, are kept beyond
#: that, up to so many and so many characters; what is left out then is counted, and it is said.
_UNREAD = 200_000
_UNREAD_CHARACTERS = 64 << 20
_BATCH = 500
_READ = 500
#: Numbers that a restart skips at least: more than can be unstored, so that none is given twice.
_SKIP = 100_000
#: Lines of several runners come in another order than they were written, by no more than this.
_OUT_OF_ORDER_NS = 60 * 10**9
#: Lines that may wait for a Redis that is away; beyond it the oldest are dropped.
_UNSTORED = 50_000


@dataclass(slots=True, eq=False)
class _Follower:
    """Someone who follows: up to where it was sent, and what went from memory before it was."""

    position: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    left_out: int = 0


@dataclass(slots=True, eq=False)
class _Book:
    seq: int = 0
    recent: deque[pb.LogLine] = field(default_factory=deque)
    lines: int = 0  # of those
    characters: int = 0
    stored: int = 0  # highest number that is stored
    followers: set[_Follower] = field(default_factory=set)
    closed: bool = False
    #: How many lines each stored message has, the oldest first; None: not known, of a former
    #: controller's.
    sizes: deque[int] | None = field(default_factory=deque)
    stored_lines: int = 0  # the sum of those

    def store(self, lines: int, keep: int) -> int:
        """A message of so many lines is stored now; how many messages are to be kept with it."""
        assert self.sizes is not None
        self.sizes.append(lines)
        self.stored_lines += lines
        while self.stored_lines - self.sizes[0] >= keep:
            self.stored_lines -= self.sizes.popleft()
        return len(self.sizes)

    def add(self, line: pb.LogLine) -> None:
        """Keep a line, and let the oldest go that no one needs or that are too many."""
        recent = self.recent
        recent.append(line)
        self.lines += chunks.count(line)
        self.characters += len(line.text)
        while len(recent) > 1 and self.lines - (size := chunks.count(recent[0])) >= _RECENT:
            oldest = recent[0]
            unread = [one for one in self.followers if one.position < oldest.seq]
            full = self.lines > _UNREAD or self.characters > _UNREAD_CHARACTERS
            if (unread or oldest.seq > self.stored) and not full:
                break
            recent.popleft()
            self.lines -= size
            self.characters -= len(oldest.text)
            if oldest.stream != "mark":
                for one in unread:
                    one.left_out += size

    def wake(self) -> None:
        """There is something to send, or it is over."""
        for one in self.followers:
            one.wake.set()


class Logbook:
    """The log lines of all open apps."""

    def __init__(self, log_store: LogStore, tasks: BackgroundTasks, settings: Settings) -> None:
        self._log_store = log_store
        self._tasks = tasks
        self._keep = settings.log_lines
        self._kept_s = settings.result_ttl_s
        self._books: dict[str, _Book] = {}
        self._unstored: deque[tuple[str, int, int, bytes]] = deque()  # app, last, lines, message
        self._unstored_lines = 0
        self._passed = 0  # messages that were taken from there, ever
        self._flushing = asyncio.Lock()
        self._storing = False
        #: Apps whose lines are lost, as what is kept of them is damaged.
        self._damaged: set[str] = set()

    async def open(self, app_id: str, *, again: bool = False) -> None:
        """Number the lines of an app; ``again``: from where a former controller may have been."""
        if app_id in self._books:
            return
        first = last = 0
        if again:
            try:
                last = await self._log_store.last_seq(app_id)
            except RefusedError as error:
                self._is_damaged(app_id, error)
            # What it showed last is perhaps not stored, nor is anything: only a clock goes on.
            first = max(last + _SKIP, now_ns() // 1000)
        sizes = None if last else deque[int]()
        self._books.setdefault(app_id, _Book(seq=first, stored=last, sizes=sizes))

    def close(self, app_id: str) -> None:
        """End the streams of those who follow an app, after its last line."""
        self._damaged.discard(app_id)
        book = self._books.pop(app_id, None)
        if book is not None:
            book.closed = True
            book.wake()

    def seq(self, app_id: str) -> int:
        """The number of the app's last line so far."""
        book = self._books.get(app_id)
        return book.seq if book else 0

    def add(self, line: pb.LogLine) -> None:
        """Number a line, show it to who follows, and store it soon."""
        book = self._books.get(line.app_id)
        if book is None:
            return  # its app is closed
        lines = chunks.count(line)
        book.seq += lines
        line.seq = book.seq
        book.add(line)
        book.wake()
        if line.stream == "mark":  # for who follows: a call's lines have come; not kept
            return
        while self._unstored and self._unstored_lines + lines > _UNSTORED:
            self._pass()
        self._unstored.append((line.app_id, line.seq, lines, line.SerializeToString()))
        self._unstored_lines += lines
        if not self._storing:
            self._storing = True
            self._tasks.spawn(self._store(), "store log lines")

    def say(self, app_id: str, text: str, function: str = "") -> None:
        """Add a line of the controller's own."""
        self.add(
            pb.LogLine(app_id=app_id, function=function, stream="system", text=text, at_ns=now_ns())
        )

    async def flush(self) -> None:
        """Store what is not stored yet."""
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        while self._unstored:
            count = min(_BATCH, len(self._unstored))
            end = self._passed + count
            batch = [self._unstored[i] for i in range(count)]
            await self._append(
                [
                    (app_id, seq, lines, data, await self._kept(app_id, lines))
                    for app_id, seq, lines, data in batch
                ]
            )
            # Of apps that are closed: their time began before these were stored.
            late = {app_id for app_id, *_ in batch if app_id not in self._books}
            await self._log_store.expire(late, self._kept_s)
            while self._passed < end:  # some were perhaps dropped meanwhile
                self._pass()
            for app_id, seq, _, _ in batch:
                book = self._books.get(app_id)
                if book is not None:
                    book.stored = max(book.stored, seq)

    async def _append(self, messages: list[tuple[str, int, int, bytes, int]]) -> None:
        """Those that Redis refuses hinder no others."""
        try:
            await self._log_store.append(messages)
        except RefusedError as error:
            if len(messages) == 1:
                self._is_damaged(messages[0][0], error)
                return
            for one in messages:
                await self._append([one])

    def _is_damaged(self, app_id: str, error: RefusedError) -> None:
        """What is kept of an app's lines is none; once. Raises ``error`` where it is another's."""
        if not error.is_of_damage:
            raise error
        if app_id not in self._damaged:
            self._damaged.add(app_id)
            log.error("log lines of an app are not kept", extra=kv(app=app_id, reason=error))

    def _pass(self) -> None:
        self._unstored_lines -= self._unstored.popleft()[2]
        self._passed += 1

    async def _kept(self, app_id: str, lines: int) -> int:
        """A message of so many lines is to be stored; how many the app keeps with it."""
        book = self._books.get(app_id)
        if book is None:  # closed meanwhile; what it has is bounded already
            return self._keep
        if book.sizes is None:
            try:
                sizes = await self._log_store.sizes(app_id)
            except RefusedError as error:
                self._is_damaged(app_id, error)
                sizes = []
            book.sizes, book.stored_lines = deque(sizes), sum(sizes)
        return book.store(lines, self._keep)

    async def _store(self) -> None:
        try:
            await self.flush()
        finally:
            self._storing = False

    async def tail(
        self, app_id: str, count: int, wanted: LogFilter | None
    ) -> tuple[list[pb.LogLine], int]:
        """The last ``count`` lines that are wanted, and the number behind which to go on."""
        book = self._books.get(app_id)
        found: deque[pb.LogLine] = deque()
        missing = count
        recent = list(book.recent) if book is not None else []
        before = chunks.first_seq(recent[0]) if recent else 1 << 62
        last = recent[-1].seq if recent else 0
        lines = recent[::-1]
        while True:
            for line in lines:
                last = max(last, line.seq)
                before = min(before, chunks.first_seq(line))
                if wanted is not None and 0 < line.at_ns < wanted.since_ns - _OUT_OF_ORDER_NS:
                    return list(found), last
                if line.stream == "mark":
                    continue
                for part in reversed(_of_them(line, wanted)):
                    found.appendleft(chunks.behind(part, part.seq - missing))
                    missing -= chunks.count(found[0])
                    if missing == 0:
                        return list(found), last
            stored = await self._log_store.before(app_id, before, _READ)
            if not stored:
                return list(found), last
            lines = [_read(app_id, *one) for one in stored]

    async def follow(
        self, app_id: str, after: int, live: bool, wanted: LogFilter | None = None
    ) -> AsyncIterator[pb.LogLine]:
        """The lines behind number ``after``: stored ones, then, if ``live``, as they come.

        Only those that are ``wanted``. Lines that were dropped from store and memory are passed
        over. Ends when the app closes.
        """
        book = self._books.get(app_id)
        reader = _Follower(after)
        if book is not None and live:
            book.followers.add(reader)
        try:
            while True:
                reader.wake.clear()
                # Memory has all lines that are not stored; what it dropped is in the store.
                first = (
                    chunks.first_seq(book.recent[0]) if book is not None and book.recent else None
                )
                if first is None or reader.position + 1 < first:
                    stored = await self._log_store.after(app_id, reader.position, _READ)
                    for one in stored:
                        line = chunks.behind(_read(app_id, *one), reader.position)
                        reader.position = line.seq
                        if first is not None and line.seq < first:
                            reader.left_out = max(0, reader.left_out - chunks.count(line))
                        for part in _of_them(line, wanted):
                            yield part
                    if len(stored) == _READ:
                        continue
                if reader.left_out:
                    yield _left_out(app_id, reader.position, reader.left_out)
                    reader.left_out = 0
                if book is not None:
                    for recent in _behind(book.recent, reader.position):
                        line = chunks.behind(recent, reader.position)
                        reader.position = line.seq
                        for part in _of_them(line, wanted):
                            yield part
                    if book.recent and book.recent[-1].seq > reader.position:
                        continue  # came while these were sent
                if not live or book is None or book.closed:
                    return
                await reader.wake.wait()
        finally:
            if book is not None:
                book.followers.discard(reader)


def _of_them(line: pb.LogLine, wanted: LogFilter | None) -> list[pb.LogLine]:
    """What is wanted of the lines of a message."""
    return [line] if wanted is None else wanted.of_them(line)


def _read(app_id: str, seq: int, lines: int, raw: bytes) -> pb.LogLine:
    """A message as it was stored; where it is damaged, one that says so in its place."""
    line = stored_messages.read(pb.LogLine, raw, f"{app_id}, line {seq}")
    return line or _in_place(app_id, seq, lines, "what is kept of them cannot be read")


def _left_out(app_id: str, seq: int, count: int) -> pb.LogLine:
    return _in_place(app_id, seq, count, "more were printed than could be shown")


def _in_place(app_id: str, seq: int, count: int, why: str) -> pb.LogLine:
    text = f"... {counted(count, 'line')} of output left out: {why}"
    return pb.LogLine(app_id=app_id, stream="stderr", text=text, at_ns=now_ns(), seq=seq)


def _behind(lines: deque[pb.LogLine], seq: int) -> list[pb.LogLine]:
    """The lines with higher numbers; looks at few when few are new."""
    found: list[pb.LogLine] = []
    for line in reversed(lines):
        if line.seq <= seq:
            break
        found.append(line)
    found.reverse()
    return found
