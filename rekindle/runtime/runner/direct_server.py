"""Direct calls in a runner: one client's calls, straight from its connection.

While a client has this runner, the runner does nothing but wait for its next call: an order of the
agent reaches it by what the agent does to the connection (it shuts it for reading), to its page and
by signals. It goes back to the agent's orders when the connection is at its end.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
from functools import partial
from time import perf_counter_ns
from typing import Any

from rekindle.exception import RequestSizeError
from rekindle.execution import nesting
from rekindle.forkserver import park
from rekindle.linux.arrivals import Arrivals
from rekindle.linux.plain_descriptors import bytes_waiting, has_hung_up
from rekindle.runtime.runner import generators, other_python
from rekindle.runtime.runner.inputs import Inputs, report_nested
from rekindle.runtime.runner.orphans import Orphans
from rekindle.wire import direct_frames as wire
from rekindle.wire.direct_stream import ItemWriter
from rekindle.wire.exceptions import record_exception
from rekindle.wire.frames import FrameSocket, Header, own_socket, pack_frame
from rekindle.wire.page import RunnerPage, cancel_token
from rekindle.wire.phases import now_ns
from rekindle.wire.reuse import IDLE_S, MemoryFiles
from rekindle.wire.serialization import serialize
from rekindle.wire.shared import Packed, TooLargeError, pack, unpack

#: Direct calls are numbered, in place of a slice and an index in it.
_NO_SLICE = 0


class DirectCalls:
    """Serves leases, one after the other."""

    def __init__(
        self, inputs: Inputs, channel: FrameSocket, page: RunnerPage, orphans: Orphans
    ) -> None:
        self._inputs = inputs
        self._channel = channel
        self._page = page
        self._orphans = orphans
        self._number = 0
        self._limit_bytes = sys.maxsize  # of values, the same as through the queue
        self._written = -1  # by all calls up to now; -1: not known
        self._before = b""  # to be read before the next answer
        # Of the client that is served: what results are written to and arguments read from.
        self._files: MemoryFiles

    def serve_first(self, fd: int, lease: Header) -> None:
        """Serve the client that this process was started for: what it was granted it reads before
        its first answer. Raises FrameError: the agent is gone."""
        frame = pack_frame(lease["granted"])
        self._written = 0  # with what was printed on the way here
        if lease["sent"]:
            self._before = frame
        else:
            with contextlib.suppress(OSError):  # its client is gone, as is found below
                os.write(fd, frame)
        self._serve(fd, lease["max_result_bytes"] or sys.maxsize)

    def serve(self, fd: int, limit_bytes: int) -> None:
        """Serve one client until its connection ends. Raises FrameError: the agent is gone."""
        self._written = self._total_written()
        self._serve(fd, limit_bytes)

    def _serve(self, fd: int, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._files = MemoryFiles()
        arrivals = Arrivals(fd)
        with own_socket(fd) as sock:
            try:
                if self._before and has_hung_up(fd):
                    raise BrokenPipeError  # what it sent before it went is not begun
                for call in iter(partial(self._next, sock, arrivals), None):
                    self._run(sock, call)
            except OSError:
                pass  # the client is gone, and no one waits for an answer
            finally:
                self._files.close()
                self._before = b""  # of this client alone
            try:
                # The agent has a copy of this end: to close ours would say nothing to the client.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the connection has ended
        self._channel.send({"op": "returned"})

    def _next(self, sock: socket.socket, arrivals: Arrivals) -> wire.CallFrame | None:
        files, since_ns = self._files, perf_counter_ns()
        self._orphans.look(since_ns)
        # A loop of the user's has the time between two calls.
        if not self._inputs.service.has_loop and arrivals.look(since_ns):
            call = wire.receive_call(sock)
        else:
            if files.any:
                left_s = IDLE_S - files.idle_s
                if left_s <= 0 or not self._inputs.service.wait(sock.fileno(), left_s):
                    files.drop()
            self._inputs.service.wait(sock.fileno())
            call = wire.receive_call(sock)
            arrivals.slept(since_ns)
        if call is not None and call.gone:
            files.came_back(call.gone)
        return call

    def _run(self, sock: socket.socket, call: wire.CallFrame) -> None:
        received_ns = now_ns()
        self._number += 1
        page = self._page
        page.call(call.call_id)

        nesting.begin(call.depth)
        items = partial(self._send_items, sock, received_ns) if call.stream else None
        token = cancel_token(_NO_SLICE, self._number)
        done = self._inputs.attempt(
            f"{call.call_id}:0",
            call.call_id,
            call.method,
            self._number,
            token,
            self._load,
            call,
            items,
        )
        if call.fd >= 0:
            os.close(call.fd)  # cancelled before it could be loaded
        failure = done.failure
        packed = Packed(b"")
        status = wire.OK
        if failure is None:
            try:
                what = f"the result of {self._inputs.what(call.method)}"
                packed = pack_result(done.value, what, self._limit_bytes, self._files)
            except BaseException as error:  # noqa: BLE001 - goes to the caller, whatever it is
                failure = error
        done.value = None
        if failure is not None:
            status = wire.CANCELLED if done.cancelled else wire.FAILED
            # Of a generator no file is written again (``_send_items``).
            files = None if call.stream else self._files
            packed = pack_failure(failure, self._limit_bytes, files)
            page.fail()
            # With it go the frames that hold the arguments: the answer says that they are gone.
            done.failure = failure = None
        # What was printed in calls that it made is to be there before its answer, too.
        printed = self._printed() or nesting.has_called()
        page.end(done.began_ns, now_ns())
        report_nested(self._channel.send)
        if printed:
            # Before the answer: the mark is on its way when the caller begins to wait for it.
            self._channel.send({"op": "mark", "call_id": call.call_id})
        try:
            times = (received_ns, done.loaded_ns, done.ended_ns)
            before, self._before = self._before, b""
            gone = self._files.gone
            wire.send_reply(sock, status, times, packed, gone, printed=printed, before=before)
        finally:
            packed.close()

    def _load(self, call: wire.CallFrame) -> Any:
        fd, call.fd = call.fd, -1
        return unpack(call.data, fd, self._files)

    def _send_items(
        self, sock: socket.socket, received_ns: int, method: str, args: Any, kwargs: Any
    ) -> None:
        """Run a generator; the answer, without a value, follows its last item."""
        writer = ItemWriter(sock, (received_ns, now_ns()))
        try:
            # No file is written again: how many of them the reader keeps, nobody can tell here.
            make = partial(
                pack_result,
                what=f"an item of {self._inputs.what(method)}",
                limit_bytes=self._limit_bytes,
                files=None,
            )
            generators.run(self._inputs.service, method, args, kwargs, writer, make)
        finally:
            writer.close()

    # ---- output

    def _printed(self) -> bool:
        """Whether anything was written since the last call."""
        park.flush_output()
        before, self._written = self._written, self._total_written()
        return self._written < 0 or self._written != before

    def _total_written(self) -> int:
        """Bytes written to the output pipes, ever: what the agent took, and what is in them.

        -1 while that is not known: the agent is taking some now, or a pipe is not ours.
        """
        draining, drained = self._page.output
        if draining:
            return -1
        try:
            waiting = bytes_waiting(1) + bytes_waiting(2)
        except OSError:
            return -1  # closed, or replaced by something that is no pipe
        return drained + waiting if self._page.output == (False, drained) else -1


def pack_result(value: Any, what: str, limit_bytes: int, files: MemoryFiles | None) -> Packed:
    """A value for a client; ``what`` is how errors name it.

    Raises RequestSizeError, OSError, SerializationError.
    """
    try:
        return pack(value, limit_bytes, files)
    except TooLargeError as error:
        raise RequestSizeError(
            f"{what} is over the limit of {error.limit / 2**20:.1f} MiB ({error.limit} bytes); "
            f"write it to a file and return its name, return it in parts, or raise "
            f"REKINDLE_MAX_PAYLOAD_BYTES where the controller is started"
        ) from None
    except OSError:
        raise
    except BaseException:  # noqa: BLE001 - a user's __reduce__ may raise anything
        return Packed(serialize(value, what))  # says what part of it cannot be pickled


def pack_failure(error: BaseException, limit_bytes: int, files: MemoryFiles | None) -> Packed:
    """The record of an exception for a client."""
    other_python.explain(error)
    record = tuple(record_exception(error, limit_bytes=limit_bytes))
    try:
        return pack(record, files=files)
    except OSError:  # there can be no memory file: then it goes through the socket
        return Packed(pickle.dumps(record, pickle.HIGHEST_PROTOCOL))
