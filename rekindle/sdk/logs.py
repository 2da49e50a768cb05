"""Runners' output on the caller's terminal: line by line, in order, nothing twice.

Lines come through the Logs RPC on the background thread and are written there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from rekindle.exception import Error
from rekindle.sdk import notes
from rekindle.sdk.connection.client import Client
from rekindle.wire import rekindle_pb2 as pb

#: A call returns before its lines when none has come for so long, though they could ...
_QUIET_S = 10.0
#: ... and while the controller is away, which calls on leases should not notice.
_AWAY_S = 0.5
#: Marks kept for calls that have not come to ask for them.
_MARKS = 1000


class LogPrinter:
    """Follows the log lines of one app. Its methods run on the background thread."""

    def __init__(self, client: Client, app_id: str) -> None:
        self._client = client
        self._app_id = app_id
        self._printed = 0
        self._missing = 0  # the highest line that did not come in time
        self._news = asyncio.Event()
        self._marks: dict[str, None] = {}  # calls whose lines have all been printed, newest last
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        #: Not while a runner has the terminal: lines of others would come into what it shows.
        self._may_show = asyncio.Event()
        self._may_show.set()
        self._connected = True
        self._said = False  # that output is late
        self._owner = os.getpid()  # a forked child has no part in the printing

    async def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow())

    async def reached(self, seq: int) -> None:
        """Return when line ``seq`` is shown, or when no line has come for too long."""
        if max(self._printed, self._missing) >= seq or os.getpid() != self._owner:
            return
        if not await self._shown(lambda: self._printed >= seq):
            self._missing = max(self._missing, seq)  # nor are the results after this one

    async def marked(self, call_id: str) -> None:
        """Return when all lines of a direct call are shown, or when none has come for too long."""
        if os.getpid() != self._owner:
            return
        if await self._shown(lambda: call_id in self._marks):
            self._marks.pop(call_id, None)

    async def _shown(self, done: Callable[[], bool]) -> bool:
        """Wait for it for as long as lines keep coming; whether it is so.

        A bound on the whole would cut off who prints much. That none comes any more means that
        what is waited for was lost, with a controller that was killed for example.
        """
        while not done() and not self._ended:
            self._news.clear()
            try:
                async with asyncio.timeout(_QUIET_S if self._connected else _AWAY_S):
                    await self._news.wait()
            except TimeoutError:
                if not self._may_show.is_set():
                    continue
                if self._connected and not self._said:
                    self._said = True
                    notes.write_note(
                        f"output of a call has not come for {_QUIET_S:g} s, so its result is "
                        f"returned before it; what still comes is shown"
                    )
                return False
        return True

    async def hold(self, held: bool) -> None:
        """Show nothing (True), or go on: calls wait for their lines for as long."""
        if held:
            self._may_show.clear()
        else:
            self._may_show.set()

    async def drain(self) -> None:
        """Print what comes until the stream ends, which it does when its app is closed."""
        if self._task is None:
            return
        await self._shown(lambda: False)
        if not self._ended:
            self._task.cancel()

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()

    def _marked(self, call_id: str) -> None:
        self._marks[call_id] = None
        while len(self._marks) > _MARKS:
            del self._marks[next(iter(self._marks))]

    def _lost(self) -> None:
        self._connected = False
        self._news.set()

    async def _follow(self) -> None:
        try:
            request = pb.LogsRequest(app_id=self._app_id, follow=True)
            async for line in self._client.logs(request, self._lost):
                self._connected = True
                await self._may_show.wait()
                show(line)
                if line.stream == "mark":
                    self._marked(line.call_id)
                self._printed = line.seq
                self._news.set()
        except Error as error:
            notes.write_note(f"output is no longer shown: {error}")
        finally:
            self._ended = True
            self._news.set()


def show(line: pb.LogLine) -> None:
    """Write one line where it belongs."""
    if line.stream == "mark":  # says that all lines of a direct call have come before it
        return
    if line.stream == "system":
        if notes.shown:
            notes.write_note(line.text)
        return
    notes.write(sys.stderr if line.stream == "stderr" else sys.stdout, line.text, not line.partial)
