"""Where inputs come from, and where results go: the agent, and each client that has this runner.

All are watched by one epoll. A client has one call at a time on its connection; several clients, or
several calls of one, have a connection each. Knows nothing of how inputs are run.
"""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Callable
from functools import partial

from rekindle.exception import FunctionTimeoutError, InputCancellation
from rekindle.forkserver import park
from rekindle.runtime.runner.inputs import pack_ending, report_nested
from rekindle.runtime.runner.many.connection import Connection, Reports
from rekindle.runtime.runner.many.prints import Prints
from rekindle.runtime.runner.many.run import Run
from rekindle.wire import finished
from rekindle.wire.frames import FrameSocket, Header, own_socket
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import now_ns
from rekindle.wire.serialization import deserialize


class Intake:
    """See the module. ``take`` gets each input; it is called by ``pump`` alone."""

    def __init__(self, channel: FrameSocket, page: RunnerPage, what: Callable[[str], str]) -> None:
        self._channel = channel
        self.page = page
        self.what = what
        self.take: Callable[[Run], None]
        #: Whether the agent has ordered the end.
        self.stopped = False
        self._lock = threading.Lock()  # of what is sent to the agent
        self._epoll = select.epoll()
        self._epoll.register(channel.fileno(), select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._ending = threading.Lock()  # of which of them there are, and their descriptors
        self._reports = Reports(what, self.send, self._called, self._end)
        #: By slot, what the agent gave and has no result yet.
        self._given: dict[int, Run] = {}
        #: What the results of these may have.
        self._most_bytes = sys.maxsize

    def fileno(self) -> int:
        """Readable while ``pump`` has something to do."""
        return self._epoll.fileno()

    def pump(self) -> None:
        """Take in all that has come. Raises FrameError: the agent is gone."""
        # Each order may bring another connection, whose first call is there already.
        while self._pump_once() and not self.stopped:
            pass

    def _pump_once(self) -> bool:
        """Take in an order, and what clients have sent; whether there was an order."""
        ordered = False
        for fd, events in self._epoll.poll(0):
            if fd == self._channel.fileno():
                ordered = True
                continue
            connection = self._connections.get(fd)
            if connection is None:
                continue  # it has ended meanwhile
            if events & select.EPOLLHUP:
                self._hung_up(connection)
            else:
                self._readable(connection)
        if ordered:  # last: a connection that it brings may have the number of one that has ended
            self._order()
        return ordered

    # ---- the agent

    def _order(self) -> None:
        header, body, fds = self._channel.receive()
        operation = header["op"]
        if operation == "inputs":
            self._inputs(header, body)
        elif operation == "lease":
            self._lease(fds[0], header)
        elif operation == "cancel":
            self._cancel(header)
        elif operation == "stop":
            self.stopped = True
        else:
            raise ValueError(f"an order that a runner does not know: {operation}")

    def _inputs(self, header: Header, body: bytes) -> None:
        call_id, method = header["call_id"], header["method"]
        arguments = f"the arguments of {self.what(method)}"
        self._most_bytes = header["max_result_bytes"]
        at, received_ns = 0, now_ns()
        rows = zip(header["slots"], header["indexes"], header["sizes"], strict=True)
        for slot, index, size in rows:
            load = partial(deserialize, body[at : at + size], arguments)
            at += size
            run = Run(
                *(slot, call_id, index, method, header["depth"], load, self),
                *(Prints(call_id), received_ns),
            )
            run.alone = header["alone"]
            self._given[slot] = run
            self.take(run)

    def _cancel(self, header: Header) -> None:
        run = self._given.get(header["slot"])
        if run is None:
            for connection in self._connections.values():
                if connection.slot == header["slot"]:
                    run = connection.run
        began_ns = header["began_ns"]
        if run is None or (began_ns and run.began_ns != began_ns):
            return  # it has ended; another one is in its place
        words = header["timeout"]
        end_run(run, FunctionTimeoutError(words) if words else None)

    def answer(self, runs: list[Run]) -> None:
        """Results for the agent."""
        report_nested(self.send)
        pieces: list[bytes] = []
        for run in runs:
            pieces += self._record(run)
            self._given.pop(run.slot, None)
            self.page.end_slot(run.slot)
        self.send({"op": "done", "slots": [run.slot for run in runs]}, b"".join(pieces))

    def _called(self, run: Run, failed: bool) -> None:
        """A direct call has ended."""
        report_nested(self.send)
        self.page.end_slot(run.slot)
        with self._lock:
            self.page.called(run.ended_ns - run.began_ns, failed=failed)

    def _record(self, run: Run) -> tuple[bytes, bytes]:
        what = f"the result of {self.what(run.method)}"
        ending, data = pack_ending(
            run.value, run.failure, what, self._most_bytes, cancelled=run.is_cancelled
        )
        run.value = None
        times = (run.began_ns, run.loaded_ns, run.ended_ns)
        return finished.head(run.index, ending, *times, len(data)), data

    def send(self, header: Header, body: bytes = b"") -> None:
        """Send to the agent, from any thread. Raises FrameError: it is gone."""
        park.flush_output()
        with self._lock:
            self._channel.send(header, body)

    # ---- clients

    def _lease(self, fd: int, header: Header) -> None:
        limit = header["max_result_bytes"] or sys.maxsize
        connection = Connection(own_socket(fd), header["slot"], limit, self._reports)
        self._connections[fd] = connection
        # Its first call, and its end, are readable; EPOLLHUP comes unasked.
        self._epoll.register(fd, select.EPOLLIN)

    def _readable(self, connection: Connection) -> None:
        if connection.is_running(then_over=True):
            # The agent takes it back, and what it has sent is served; or its client is about to go.
            self._watch(connection, 0)
            return
        try:
            call = connection.read()
        except OSError:
            self._end(connection)
            return
        if call is None:
            if connection.over:
                self._end(connection)
            return
        load = partial(connection.unpack, call)
        run = Run(
            *(connection.slot, call.call_id, 0, call.method, call.depth, load, connection),
            *(Prints(call.call_id), now_ns()),
        )
        if call.stream:
            run.stream = connection.stream(call.method)
        connection.run = run
        self.take(run)

    def _hung_up(self, connection: Connection) -> None:
        """No one waits for what it runs any more."""
        run = connection.run
        if run is not None and connection.is_running(then_over=True):
            self._watch(connection, select.EPOLLET)  # it has said all it has to say
            end_run(run, None)
        else:
            self._end(connection)

    def _watch(self, connection: Connection, events: int) -> None:
        """For these events, where it has not been ended by the thread of its call meanwhile."""
        with self._ending:
            if self._connections.get(connection.fileno()) is connection:
                self._epoll.modify(connection.fileno(), events)

    def _end(self, connection: Connection) -> None:
        """A connection is over, and no call runs on it; from any thread."""
        with self._ending:
            if self._connections.get(connection.fileno()) is not connection:
                return
            del self._connections[connection.fileno()]
            self._epoll.unregister(connection.fileno())
            connection.close()
        self.send({"op": "returned", "slot": connection.slot})


def end_run(run: Run, timeout: FunctionTimeoutError | None) -> None:
    """Have a run end: it was cancelled, or ran for too long."""
    if run.cause is None:
        run.cause = timeout or InputCancellation("the input was cancelled")
        if run.interrupt is not None:
            run.interrupt()
