"""What an agent has for the controller, in order; results that wait travel together.

A message of its own for each result would cost more than running the input. While one message is
being written, results of a call are joined to those of the same call that wait already, unless a
line that the call printed came between: lines go before the results that they belong to. Where a
call has more to come, its results go ``GATHER_S`` apart at least; what comes meanwhile is gathered.
Where runners have nothing to run before the controller has heard of results, and where these are
among the last, ``SOON_S`` apart.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from rekindle.runtime.agent.uplink import GATHER_S
from rekindle.wire import lines as chunks
from rekindle.wire import rekindle_pb2 as pb

#: Results are joined up to so many in a message, and so many bytes.
_MAX_RESULTS = 4096
_MAX_BYTES = 4 << 20
#: So far apart in place of GATHER_S, where somebody waits for them or for what they bring.
SOON_S = 0.004
#: Lines and other messages kept while there is no connection; older ones are dropped.
MAX_BUFFERED = 10_000


@dataclass(slots=True)
class _Pause:
    """Results of a call have gone, and the next ones are gathered."""

    since: float  # by the loop's clock
    end: asyncio.TimerHandle


class Outbox:
    """Messages on their way; ``open`` while there is a connection."""

    def __init__(self) -> None:
        self.open = False
        self._queue: deque[pb.AgentMessage] = deque()
        #: Call -> the message in the queue that its next results may join, and its size.
        self._joinable: dict[str, tuple[pb.AgentMessage, int]] = {}
        #: Call -> results that are gathered, and their size.
        self._gathered: dict[str, tuple[pb.AgentMessage, int]] = {}
        #: Of calls of which something has gone just now.
        self._pauses: dict[str, _Pause] = {}
        self._kept: deque[pb.AgentMessage] = deque()
        self._kept_lines = 0
        self._left_out: dict[str, tuple[pb.LogLine, int]] = {}  # app -> a line, how many
        self._some = asyncio.Event()

    def put(self, message: pb.AgentMessage, *, more: bool = False, soon: bool = False) -> None:
        """Send, or keep for the next connection; ``more``: more results of that call are to come,
        ``soon``: and these are not to wait for many others.

        Results are not kept here: the node has them until they are confirmed.
        """
        kind = message.WhichOneof("kind")
        if not self.open:
            if kind not in ("done", "heartbeat"):
                self._keep(message)
            return
        if kind == "done":
            self._gather(message, more, soon)
            return
        if kind == "log":
            if message.log.call_id:
                self._joinable.pop(message.log.call_id, None)
            else:
                self._joinable.clear()
        self._append(message)

    def _keep(self, message: pb.AgentMessage) -> None:
        self._kept.append(message)
        self._kept_lines += _weight(message)
        while self._kept_lines > MAX_BUFFERED:
            oldest = self._kept.popleft()
            self._kept_lines -= _weight(oldest)
            if oldest.WhichOneof("kind") == "log":
                app_id = oldest.log.app_id
                before = self._left_out.get(app_id, (None, 0))[1]
                self._left_out[app_id] = (oldest.log, before + _weight(oldest))

    def _gather(self, message: pb.AgentMessage, more: bool, soon: bool) -> None:
        call_id, size = message.done.call_id, sum(map(len, message.done.results))
        if self._join(self._gathered, message, size):
            message, size = self._gathered[call_id]
        else:
            self._send_gathered(call_id)
        pause = self._pauses.get(call_id)
        if more and pause is not None and size < _MAX_BYTES:
            self._gathered[call_id] = message, size
            if soon:
                self._end_soon(pause, call_id)
            return
        self._gathered.pop(call_id, None)
        self._put_results(message, size)
        if more and pause is None:
            self._begin_pause(call_id)

    def _begin_pause(self, call_id: str) -> None:
        loop = asyncio.get_running_loop()
        end = loop.call_later(GATHER_S, self._pause_ends, call_id)
        self._pauses[call_id] = _Pause(loop.time(), end)

    def _end_soon(self, pause: _Pause, call_id: str) -> None:
        at = pause.since + SOON_S
        if at < pause.end.when():
            pause.end.cancel()
            pause.end = asyncio.get_running_loop().call_at(at, self._pause_ends, call_id)

    def _pause_ends(self, call_id: str) -> None:
        del self._pauses[call_id]
        if self._send_gathered(call_id):
            self._begin_pause(call_id)

    def _send_gathered(self, call_id: str) -> bool:
        """Whether there was something."""
        if (gathered := self._gathered.pop(call_id, None)) is None:
            return False
        self._put_results(*gathered)
        return True

    def _put_results(self, message: pb.AgentMessage, size: int) -> None:
        if not self._join(self._joinable, message, size):
            self._joinable[message.done.call_id] = message, size
            self._append(message)

    @staticmethod
    def _join(
        to: dict[str, tuple[pb.AgentMessage, int]], message: pb.AgentMessage, size: int
    ) -> bool:
        """Have results travel with earlier ones of their call; False where there are none, or not
        for so many."""
        done = message.done
        earlier, earlier_size = to.get(done.call_id, (None, 0))
        if earlier is None or earlier_size + size > _MAX_BYTES:
            return False
        if len(earlier.done.results) >= _MAX_RESULTS:
            return False
        execute_ns = earlier.done.execute_ns + done.execute_ns
        earlier.done.MergeFrom(done)
        earlier.done.execute_ns = execute_ns
        to[done.call_id] = earlier, earlier_size + size
        return True

    def _append(self, message: pb.AgentMessage) -> None:
        self._queue.append(message)
        self._some.set()

    def connected(self) -> None:
        """There is a connection: what was kept goes first."""
        self.open = True
        for line, count in self._left_out.values():
            said = f"... {count} lines of output left out: the controller was away for too long"
            log = pb.LogLine(app_id=line.app_id, function=line.function, at_ns=line.at_ns)
            log.stream, log.text = "stderr", said
            self._append(pb.AgentMessage(log=log))
        self._left_out.clear()
        while self._kept:
            self._append(self._kept.popleft())
        self._kept_lines = 0

    def disconnected(self, unsent: pb.AgentMessage | None = None) -> None:
        """The connection is lost; ``unsent`` was being written."""
        self.open = False
        left = [unsent, *self._queue] if unsent is not None else list(self._queue)
        self._queue.clear()
        self._joinable.clear()
        self._gathered.clear()
        for pause in self._pauses.values():
            pause.end.cancel()
        self._pauses.clear()
        for message in left:
            self.put(message)
        self._some.clear()

    async def next(self) -> pb.AgentMessage:
        """The next message to write; nothing joins it any more."""
        while not self._queue:
            self._some.clear()
            await self._some.wait()
        message = self._queue.popleft()
        if message.WhichOneof("kind") == "done":
            joinable = self._joinable.get(message.done.call_id)
            if joinable is not None and joinable[0] is message:
                del self._joinable[message.done.call_id]
        return message


def _weight(message: pb.AgentMessage) -> int:
    """As how many it counts of those that are kept."""
    return chunks.count(message.log) if message.WhichOneof("kind") == "log" else 1
