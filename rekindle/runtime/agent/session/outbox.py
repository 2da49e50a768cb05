"""What an agent has for the controller, in order; results that wait travel together.

A message of its own for each result would cost more than running the input. While one message is
being written, results of a call are joined to those of the same call that wait already, unless a
line that the call printed came between: lines go before the results that they belong to. Where a
call has more to come, its results go ``GATHER_S`` apart at least; what comes meanwhile is gathered.
Where runners have nothing to run before the controller has heard of results, and where these are
among the last, ``SOON_S`` apart.

Where lines come quicker than the controller takes them, ``lines_wait`` says so, and who reads them
leaves them where they are. Of lines that wait all the same, as the controller is away or takes
nothing, the oldest are left out where there are too many, which the log says in their place.
Results and answers to the controller's orders wait for however long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass

from rekindle.counted import counted
from rekindle.runtime.agent.session.bounded import Bounded
from rekindle.runtime.agent.uplink import GATHER_S
from rekindle.wire import lines as chunks
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Results are joined up to so many in a message, and so many bytes.
_MAX_RESULTS = 4096
_MAX_BYTES = 4 << 20
#: So far apart in place of GATHER_S, where somebody waits for them or for what they bring.
SOON_S = 0.004
#: So many lines wait at most, and as many calls that inputs made; and so many bytes of each.
MAX_BUFFERED = 10_000
MAX_BUFFERED_BYTES = 16 << 20
#: So many lines while there is a connection, and so many bytes. From half of it on none are to be
#: read: what is read all the same, as a call ends, has room in the other half.
MAX_UNSENT, MAX_UNSENT_BYTES = 200_000, 32 << 20
#: A controller that has taken nothing for so long is not waited for.
_STUCK_S = 10.0
#: Places of messages that were left out are taken from the queue, so many at a time.
_EMPTY_PLACES = 1000


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
        #: What may be left out of the queue. A message that is stays there without a content.
        self._bounded = {
            kind: Bounded(weight, MAX_BUFFERED, MAX_BUFFERED_BYTES)
            for kind, weight in (("log", _lines), ("nested", _calls))
        }
        self._empty = self._calls_left_out = 0
        #: App -> the message in the queue that says how many of its lines were left out.
        self._left_out: dict[str, tuple[pb.AgentMessage, int]] = {}
        #: The one in the queue: of what is true now the last word is enough.
        self._heartbeat: pb.AgentMessage | None = None
        self._some = asyncio.Event()
        #: When the last message was taken (monotonic seconds).
        self._taken_at = 0.0

    def lines_wait(self) -> bool:
        """Whether to leave lines where they are until some of those that are here have gone."""
        if not self.open or not self._bounded["log"].is_half_full:
            return False
        return time.monotonic() - self._taken_at < _STUCK_S

    def put(self, message: pb.AgentMessage, *, more: bool = False, soon: bool = False) -> None:
        """Send, or keep for the next connection; ``more``: more results of that call are to come,
        ``soon``: and these are not to wait for many others.

        Results are not kept here: the node has them until they are confirmed.
        """
        kind = message.WhichOneof("kind")
        if not self.open and kind in ("done", "heartbeat"):
            return
        if kind == "done":
            self._gather(message, more, soon)
            return
        if kind == "log":
            if message.log.call_id:
                self._joinable.pop(message.log.call_id, None)
            else:
                self._joinable.clear()
        elif kind == "heartbeat":
            self._empty_place(self._heartbeat)
            self._heartbeat = message
        self._append(message)
        if kind in self._bounded:
            self._bound(kind, message)

    def _bound(self, kind: str, message: pb.AgentMessage) -> None:
        for oldest, count in self._bounded[kind].add(message):
            if kind == "log":
                self._leave_out(oldest, count)
            else:
                self._calls_left_out += count
                self._empty_place(oldest)

    def _leave_out(self, message: pb.AgentMessage, count: int) -> None:
        """The first of an app has its place for the line that says how many."""
        app_id = message.log.app_id
        said, before = self._left_out.get(app_id, (message, 0))
        if said is not message:
            self._empty_place(message)
        count += before
        why = "took too few of them" if self.open else "was away for too long"
        text = f"... {counted(count, 'line')} of output left out: the controller {why}"
        line = pb.LogLine(app_id=app_id, function=said.log.function, at_ns=said.log.at_ns)
        line.stream, line.text = "stderr", text
        said.log.CopyFrom(line)
        self._left_out[app_id] = said, count

    def _empty_place(self, message: pb.AgentMessage | None) -> None:
        if message is not None:
            message.Clear()
            self._empty += 1
        if self._empty > max(_EMPTY_PLACES, len(self._queue) // 2):
            self._queue = deque(one for one in self._queue if one.WhichOneof("kind"))
            self._empty = 0

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
        self._taken_at = time.monotonic()
        lines = self._bounded["log"]
        lines.most, lines.most_bytes = MAX_UNSENT, MAX_UNSENT_BYTES
        if self._calls_left_out:
            count, self._calls_left_out = self._calls_left_out, 0
            log.warning("calls that inputs made are left out", extra=kv(count=count))

    def disconnected(self, unsent: pb.AgentMessage | None = None) -> None:
        """The connection is lost; ``unsent`` was being written."""
        self.open = False
        left = [unsent, *self._queue] if unsent is not None else list(self._queue)
        self._queue.clear()
        self._empty, self._heartbeat = 0, None
        for bounded in self._bounded.values():
            bounded.clear()
        lines = self._bounded["log"]
        lines.most, lines.most_bytes = MAX_BUFFERED, MAX_BUFFERED_BYTES
        self._joinable.clear()
        self._gathered.clear()
        for pause in self._pauses.values():
            pause.end.cancel()
        self._pauses.clear()
        said = {id(message) for message, _ in self._left_out.values()}
        for message in left:
            if id(message) in said:  # it stands for many lines, and is not left out itself
                self._append(message)
            elif message.WhichOneof("kind"):
                self.put(message)

    async def next(self) -> pb.AgentMessage:
        """The next message to write; nothing joins it any more."""
        while True:
            while not self._queue:
                self._some.clear()
                await self._some.wait()
            message = self._queue.popleft()
            if kind := message.WhichOneof("kind"):
                break
            self._empty -= 1
        self._taken_at = time.monotonic()
        if kind == "done":
            joinable = self._joinable.get(message.done.call_id)
            if joinable is not None and joinable[0] is message:
                del self._joinable[message.done.call_id]
        elif kind == "log":
            said = self._left_out.get(message.log.app_id)
            if said is not None and said[0] is message:
                del self._left_out[message.log.app_id]
        elif kind == "heartbeat":
            self._heartbeat = None
        if kind in self._bounded:
            self._bounded[kind].sent(message)
        return message


def _lines(message: pb.AgentMessage) -> int:
    return chunks.count(message.log)


def _calls(message: pb.AgentMessage) -> int:
    return len(message.nested.calls)
