"""What an agent has for the controller, in order; results that wait travel together.

A message of its own for each result would cost more than running the input. While one message is
being written, results of a call are joined to those of the same call that wait already, unless a
line that the call printed came between: lines go before the results that they belong to.
"""

from __future__ import annotations

import asyncio
from collections import deque

from rekindle.wire import rekindle_pb2 as pb

#: Results are joined up to so many in a message, and so many bytes.
_MAX_RESULTS = 4096
_MAX_BYTES = 4 << 20
#: Lines kept while there is no connection; older ones are dropped.
MAX_BUFFERED = 10_000


class Outbox:
    """Messages on their way; ``open`` while there is a connection."""

    def __init__(self) -> None:
        self.open = False
        self._queue: deque[pb.AgentMessage] = deque()
        #: Call -> the message in the queue that its next results may join, and its size.
        self._joinable: dict[str, tuple[pb.AgentMessage, int]] = {}
        self._kept: deque[pb.AgentMessage] = deque()
        self._left_out: dict[str, tuple[pb.LogLine, int]] = {}  # app -> a line, how many
        self._some = asyncio.Event()

    def put(self, message: pb.AgentMessage) -> None:
        """Send, or keep for the next connection.

        Results are not kept here: the node has them until they are confirmed.
        """
        kind = message.WhichOneof("kind")
        if not self.open:
            if kind not in ("done", "heartbeat"):
                self._keep(message)
            return
        if kind == "done":
            self._put_results(message)
            return
        if kind == "log":
            if message.log.call_id:
                self._joinable.pop(message.log.call_id, None)
            else:
                self._joinable.clear()
        self._append(message)

    def _keep(self, message: pb.AgentMessage) -> None:
        self._kept.append(message)
        if len(self._kept) > MAX_BUFFERED:
            oldest = self._kept.popleft()
            if oldest.WhichOneof("kind") == "log":
                app_id = oldest.log.app_id
                self._left_out[app_id] = (oldest.log, self._left_out.get(app_id, (None, 0))[1] + 1)

    def _put_results(self, message: pb.AgentMessage) -> None:
        done = message.done
        size = sum(map(len, done.results))
        joinable = self._joinable.get(done.call_id)
        if joinable is not None:
            earlier, earlier_size = joinable
            total = earlier_size + size
            if total <= _MAX_BYTES and len(earlier.done.results) < _MAX_RESULTS:
                execute_ns = earlier.done.execute_ns + done.execute_ns
                earlier.done.MergeFrom(done)
                earlier.done.execute_ns = execute_ns
                self._joinable[done.call_id] = (earlier, total)
                return
        self._joinable[done.call_id] = (message, size)
        self._append(message)

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

    def disconnected(self, unsent: pb.AgentMessage | None = None) -> None:
        """The connection is lost; ``unsent`` was being written."""
        self.open = False
        left = [unsent, *self._queue] if unsent is not None else list(self._queue)
        self._queue.clear()
        self._joinable.clear()
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
