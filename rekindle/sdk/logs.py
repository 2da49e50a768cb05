"""Runners' output on the caller's terminal: line by line, in order, nothing twice.

Lines come through the Logs request and are written by the thread that they come to.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rekindle import lazily
from rekindle.exception import Error
from rekindle.sdk import notes
from rekindle.sdk.connection.link import Link, Stream

if TYPE_CHECKING:
    import asyncio

    from rekindle.sdk.connection.client import Client
    from rekindle.wire import rekindle_pb2 as pb
else:
    asyncio = lazily.module("asyncio")
    pb = lazily.module("rekindle.wire.rekindle_pb2")

#: A call returns before its lines when none has come for so long, though they could ...
_QUIET_S = 10.0
#: ... and while the controller is away, which calls on leases should not notice.
_AWAY_S = 0.5
#: Marks kept for calls that have not come to ask for them.
_MARKS = 1000


class LogPrinter:
    """Follows the log lines of one app: over a link for as long as that holds, else by gRPC.

    Who waits for lines is on any thread, or on the background's loop.
    """

    def __init__(self, client: Client, app_id: str) -> None:
        self._client = client
        self._app_id = app_id
        self._printed = 0
        self._missing = 0  # the highest line that did not come in time
        self._lock = threading.Lock()
        self._waiting: set[Callable[[], object]] = set()  # what wakes those who wait for news
        self._marks: dict[str, None] = {}  # calls whose lines have all been printed, newest last
        self._task: asyncio.Task[None] | None = None
        self._follows = False
        self._ended = False
        #: Not while a runner has the terminal: lines of others would come into what it shows.
        self._may_show = threading.Event()
        self._may_show.set()
        self._connected = True
        self._said = False  # that output is late
        self._owner = os.getpid()  # a forked child has no part in the printing

    # ---- following -----------------------------------------------------------------------------

    def follow_by(self, link: Link) -> None:
        """Begin to follow, over a link. Raises LostError."""
        self._follows = True
        link.follow("Logs", self._wanted(), Stream(self._came, self._over))

    async def start(self) -> None:
        """Begin to follow by gRPC, or go on where a link was lost; on the background thread."""
        self._follows = True
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()

    def link_lost(self) -> None:
        """What waits is not to wait for long, until it goes on."""
        self._connected = False
        self._wake()

    def _wanted(self) -> dict[str, Any]:
        return {"app_id": self._app_id, "follow": True, "after_seq": self._printed}

    async def _follow(self) -> None:
        try:
            request = pb.LogsRequest(**self._wanted())
            async for line in self._client.logs(request, self.link_lost):
                if not self._may_show.is_set():
                    await asyncio.to_thread(self._may_show.wait)
                self._take(line)
        except Exception as error:  # noqa: BLE001 - nobody awaits this
            notes.write_note(f"output is no longer shown: {_in_words(error)}")
        finally:
            self._ended = True
            self._wake()

    def _came(self, fields: dict[str, Any]) -> None:
        self._may_show.wait()
        self._take(_Line(fields))

    def _over(self, error: Exception | None) -> None:
        if error is not None:
            notes.write_note(f"output is no longer shown: {_in_words(error)}")
        self._ended = True
        self._wake()

    def _take(self, line: pb.LogLine | _Line) -> None:
        self._connected = True
        show(line)
        if line.stream == "mark":
            self._marks[line.call_id] = None
            while len(self._marks) > _MARKS:
                del self._marks[next(iter(self._marks))]
        self._printed = line.seq
        self._wake()

    # ---- waiting -------------------------------------------------------------------------------

    async def reached(self, seq: int) -> None:
        """Return when line ``seq`` is shown, or when no line has come for too long."""
        if max(self._printed, self._missing) >= seq or os.getpid() != self._owner:
            return
        if not await self._shown(lambda: self._printed >= seq):
            self._missing = max(self._missing, seq)  # nor are the results after this one

    async def marked(self, call_id: str) -> None:
        """Return when all lines of a direct call are shown, or when none has come for too long."""
        if os.getpid() == self._owner and await self._shown(lambda: call_id in self._marks):
            self._marks.pop(call_id, None)

    def wait_marked(self, call_id: str) -> None:
        """As ``marked``, on a thread that may be blocked."""
        if os.getpid() == self._owner and self._wait_shown(lambda: call_id in self._marks):
            self._marks.pop(call_id, None)

    async def hold(self, held: bool) -> None:
        """Show nothing (True), or go on: calls wait for their lines for as long."""
        if held:
            self._may_show.clear()
        else:
            self._may_show.set()

    async def drain(self) -> None:
        """Print what comes until the stream ends, which it does when its app is closed."""
        if self._follows:
            await self._shown(lambda: False)
            if not self._ended:
                await self.stop()

    def wait_drained(self) -> None:
        """As ``drain``, over a link, on a thread that may be blocked."""
        if self._follows:
            self._wait_shown(lambda: False)

    async def _shown(self, done: Callable[[], bool]) -> bool:
        """Wait for it for as long as lines keep coming; whether it is so.

        A bound on the whole would cut off who prints much. That none comes any more means that
        what is waited for was lost, with a controller that was killed for example.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        with self._woken_by(wake):
            while not done() and not self._ended:
                news.clear()
                if done() or self._ended:
                    break
                try:
                    async with asyncio.timeout(self._patience_s()):
                        await news.wait()
                except TimeoutError:
                    if self._may_show.is_set():
                        return self._is_late()
        return True

    def _wait_shown(self, done: Callable[[], bool]) -> bool:
        """As ``_shown``."""
        news = threading.Event()
        with self._woken_by(news.set):
            while not done() and not self._ended:
                if not news.wait(self._patience_s()) and self._may_show.is_set():
                    return self._is_late()
                news.clear()
        return True

    @contextlib.contextmanager
    def _woken_by(self, wake: Callable[[], object]) -> Iterator[None]:
        try:
            with self._lock:
                self._waiting.add(wake)
            yield
        finally:
            with self._lock:
                self._waiting.discard(wake)

    def _wake(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for wake in waiting:
            wake()

    def _patience_s(self) -> float:
        return _QUIET_S if self._connected else _AWAY_S

    def _is_late(self) -> bool:
        if self._connected and not self._said:
            self._said = True
            notes.write_note(
                f"output of a call has not come for {_QUIET_S:g} s, so its result is "
                f"returned before it; what still comes is shown"
            )
        return False


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"


class _Line:
    """A line as it comes over a link: of its message what is shown."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.seq = int(fields.get("seq", 0))
        self.call_id: str = fields.get("call_id", "")
        self.stream: str = fields.get("stream", "")
        self.text: str = fields.get("text", "")
        self.partial: bool = fields.get("partial", False)
        self.runner_id: str = fields.get("runner_id", "")
        self.at_ns = int(fields.get("at_ns", 0))


def when(at_ns: int) -> str:
    """``2026-11-28T21:40:05.123+01:00``: when a line was written, for those who read it here."""
    from datetime import datetime

    return datetime.fromtimestamp(at_ns / 1e9).astimezone().isoformat(timespec="milliseconds")


_timestamps = False
#: The runner and stream of the line that has no end yet: what follows it has no time of its own.
_unfinished: tuple[str, str] | None = None


@contextlib.contextmanager
def timestamps(wanted: bool) -> Iterator[None]:
    """Within, each line begins with the time when it was written, where that is ``wanted``."""
    global _timestamps
    before, _timestamps = _timestamps, wanted
    try:
        yield
    finally:
        _timestamps = before


def _with_time(line: pb.LogLine | _Line) -> str:
    global _unfinished
    where = (line.runner_id, line.stream)
    goes_on = _unfinished == where
    _unfinished = where if line.partial else None
    if not line.at_ns:
        return line.text
    at = f"{when(line.at_ns)} "
    text = line.text.replace("\n", "\n" + at)
    return text if goes_on else at + text


def show(line: pb.LogLine | _Line) -> None:
    """Write a line, or several that were written at once, where they belong."""
    if line.stream == "mark":  # says that all lines of a direct call have come before it
        return
    text = _with_time(line) if _timestamps else line.text
    if line.stream == "system":
        if notes.shown:
            notes.write_note(text)
        return
    notes.write(sys.stderr if line.stream == "stderr" else sys.stdout, text, not line.partial)
